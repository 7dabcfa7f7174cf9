"""NICE-GAN between two styles of the same emoji, Noto and Twemoji, at 64x64 and three eighths of the width.

Command:   alae train emoji_noto2twemoji64_nice_gan
           after: alae pack NOTO data/emoji_noto2twemoji64 --second TWEMOJI --resolution 64 --validation 0.1
           the whole width, for a GPU: algorithm.base_channels=64 scaling.gpus_per_worker=1
Expected:  to Noto and to Twemoji: kernel distance x 1000 on Lite0 192.2 and 215.4 (the images themselves: 13.7 and
           14.3), paired l1 0.299 and 0.317 (0.341); blurred or speckled
           See benchmarks/emoji64_cpu2_2026-11-22.md
Cost:      73 minutes of one busy thread; 12 thousand images of each domain
Status:    run in the plain loop
"""

from alae_core.algorithms import nice_gan
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """The smaller published form; each emoji about four times."""
    return Experiment(
        name="emoji_noto2twemoji64_nice_gan",
        algorithm=nice_gan.Config(resolution=64, base_channels=24, residual_blocks=4, discriminator_layers=6),
        schedule=ProgressiveSchedule(
            resolutions=(64,), stable_kimg=(12.0,), batch_size=(2,), lr=(0.0003,), lr_falls_from_kimg=6.0
        ),
        data=DataConfig(path="data/emoji_noto2twemoji64", flip=True),
        training=TrainingConfig(
            optimizer=AdamConfig(beta1=0.5, beta2=0.999, weight_decay=1e-4),
            ema_half_life_kimg=0.5,
            tick_kimg=0.2,
            checkpoint_ticks=10,
            keep_checkpoints=3,
        ),
        evaluation=EvaluationConfig(samples=300, extractor="pixels"),
        scaling=ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25),
    )
