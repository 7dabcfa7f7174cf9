"""Soft-IntroVAE on MNIST at 32x32, at reduced width, on two CPUs.

Command:   alae train mnist32_soft_intro_vae
           after: alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
Expected:  not yet measured
Cost:      240 thousand images
Status:    not yet run

A reach of 6 nats. The code's 256 on 28x28 reaches 1.5 and fails
[C: github.com/taldatech/soft-intro-vae-pytorch/issues/11].
"""

from alae_core.algorithms import soft_intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """One level of 32; sizes, weights and lengths chosen for minutes of CPU."""
    return Experiment(
        name="mnist32_soft_intro_vae",
        algorithm=soft_intro_vae.Config(
            resolution=32,
            channels=1,
            latent=32,
            base_channels=16,
            max_channels=64,
            loss=soft_intro_vae.LossConfig(
                kl_weight=1.0, reconstruction_weight=1.0, negative_weight=(85.0,), warmup_kimg=(5.0,)
            ),
        ),
        schedule=ProgressiveSchedule(resolutions=(32,), stable_kimg=(240.0,), batch_size=(32,), lr=(0.0005,)),
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
