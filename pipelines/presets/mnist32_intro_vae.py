"""IntroVAE on MNIST at 32x32, at reduced width, on two CPUs.

Command:   alae train mnist32_intro_vae
           after: alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
Expected:  benchmarks/intro_vae_cpu2_2026-11-22.md
Cost:      150 thousand images
Status:    run in the plain loop, for CPU minutes; not yet run by the command

The margin is 2.5 times the real KL of the first 30 kimg, a plain VAE: that still rises where the warm-up ends, and
below real KL a margin does not work.
"""

from alae_core.algorithms import intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """One level of 32; sizes, weights and lengths chosen for minutes of CPU."""
    return Experiment(
        name="mnist32_intro_vae",
        algorithm=intro_vae.Config(
            resolution=32,
            channels=1,
            latent=32,
            base_channels=8,
            max_channels=32,
            loss=intro_vae.LossConfig(reconstruction_weight=2.0, margin_ratio=2.5, warmup_kimg=(30.0,)),
        ),
        schedule=ProgressiveSchedule(resolutions=(32,), stable_kimg=(150.0,), batch_size=(32,), lr=(0.001,)),
        data=DataConfig(path="data/mnist32"),
        training=TrainingConfig(
            optimizer=AdamConfig(beta1=0.9, beta2=0.999),
            ema_half_life_kimg=2.0,
            tick_kimg=1.0,
            checkpoint_ticks=20,
            keep_checkpoints=3,
        ),
        evaluation=EvaluationConfig(samples=5000, reconstructions=500),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25),
    )
