"""IntroVAE on drawn faces at 32x32, at reduced width, on two CPUs.

Command:   alae train cartoon32_intro_vae
           after: alae pack FOLDER data/cartoon32 --resolution 32 --validation 0.1
Expected:  benchmarks/intro_vae_cpu2_2026-11-22.md
Cost:      120 thousand images
Status:    run in the plain loop, for CPU minutes; not yet run by the command

The margin is 2.5 times the real KL of the first 40 kimg, a plain VAE. With the code's half weight of the encoder's hinge the
KL of samples stays below that of reals.
"""

from alae_core.algorithms import intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """One level of 32; sizes, weights and lengths chosen for minutes of CPU."""
    return Experiment(
        name="cartoon32_intro_vae",
        algorithm=intro_vae.Config(
            resolution=32,
            channels=3,
            latent=64,
            base_channels=16,
            max_channels=64,
            loss=intro_vae.LossConfig(
                reconstruction_weight=4.0, negative_weight=1.0, margin_ratio=2.5, warmup_kimg=(40.0,)
            ),
        ),
        schedule=ProgressiveSchedule(resolutions=(32,), stable_kimg=(120.0,), batch_size=(32,), lr=(0.001,)),
        data=DataConfig(path="data/cartoon32"),
        training=TrainingConfig(
            optimizer=AdamConfig(beta1=0.9, beta2=0.999),
            ema_half_life_kimg=2.0,
            tick_kimg=1.0,
            checkpoint_ticks=20,
            keep_checkpoints=3,
        ),
        evaluation=EvaluationConfig(samples=5000, extractor="pixels"),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25),
    )
