"""Soft-IntroVAE on drawn faces at 64x64, at reduced width.

Command:   alae train cartoon64_soft_intro_vae
           after: alae pack FOLDER data/cartoon64 --resolution 64 --validation 0.1
Expected:  not yet measured
Cost:      300 thousand images
Status:    not yet run

A reach of 24 nats.
"""

from alae_core.algorithms import soft_intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """One level of 64."""
    return Experiment(
        name="cartoon64_soft_intro_vae",
        algorithm=soft_intro_vae.Config(
            resolution=64,
            channels=3,
            latent=128,
            base_channels=16,
            max_channels=128,
            loss=soft_intro_vae.LossConfig(
                kl_weight=1.0, reconstruction_weight=0.5, negative_weight=(256.0,), warmup_kimg=(5.0,)
            ),
        ),
        schedule=ProgressiveSchedule(resolutions=(64,), stable_kimg=(300.0,), batch_size=(32,), lr=(0.0005,)),
        data=DataConfig(path="data/cartoon64"),
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
