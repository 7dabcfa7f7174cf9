"""StyleALAE on MNIST at 32x32, grown from 4x4 on two CPU workers: the demo.

Command:   alae train mnist32_style_alae
           after: alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
Expected:  recognisable digits, distance near 48 (benchmarks/mnist32_style_alae_cpu2_2026-11-22.md)
Cost:      22.6 thousand images
Status:    run
"""

from alae_core.algorithms import style_alae
from alae_core.algorithms.alae import LossConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """StyleALAE, 4 -> 8 -> 16 -> 32, at reduced width; learning rates and lengths chosen for minutes of CPU."""
    return Experiment(
        name="mnist32_style_alae",
        algorithm=style_alae.Config(
            resolution=32,
            channels=1,
            latent=64,
            base_channels=16,
            max_channels=64,
            mapping_layers=4,
            rgb_gain=0.3,
            loss=LossConfig(r1_every=8),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32),
            stable_kimg=(2.0, 4.0, 6.0, 4.5),
            fade_kimg=(0.0, 1.5, 2.0, 2.5),
            batch_size=(64, 32, 16, 16),
            lr=(0.003,),
        ),
        data=DataConfig(path="data/mnist32"),
        training=TrainingConfig(ema_half_life_kimg=1.0, tick_kimg=1.0, checkpoint_ticks=8, keep_checkpoints=3),
        evaluation=EvaluationConfig(samples=5000, reconstructions=500),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25),
    )
