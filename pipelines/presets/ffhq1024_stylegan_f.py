"""StyleGAN on FFHQ at 1024x1024, grown from 8x8: configuration F of its table 1, the whole method.

Command:   alae train ffhq1024_stylegan_f
           after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
Expected:  the paper reports FID 4.40 [C: paperswithcode; NVlabs/stylegan README measures 4.4159]
Cost:      25 million images; StyleGAN's authors: 6 days 14 hours on 8 V100 [C: NVlabs/stylegan README]
Status:    not yet run at full size
"""

from alae_core.algorithms import stylegan
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """StyleGAN, 8 -> 16 -> ... -> 1024, 600 thousand images per fade and per level before the last."""
    return Experiment(
        name="ffhq1024_stylegan_f",
        algorithm=stylegan.Config(resolution=1024),
        schedule=ProgressiveSchedule(
            resolutions=(8, 16, 32, 64, 128, 256, 512, 1024),
            stable_kimg=(600.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0, 16_600.0),
            fade_kimg=(600.0,),
            batch_size=(256, 128, 64, 32),
            lr=(0.001, 0.001, 0.001, 0.001, 0.0015, 0.002, 0.003),
            fade="linear",
            clear_moments="phase",
        ),
        # At 1024 px a window is 3 GiB.
        data=DataConfig(path="data/ffhq1024", flip=True, window_images=1024, read_ahead_gib=8.0),
        # A micro-batch is the share of one of 8 ranks: on fewer, gradients are accumulated.
        training=TrainingConfig(
            ema_half_life_kimg=10.0,
            microbatch=(32, 16, 8, 4),
            precision="fp32",
            tick_kimg=20.0,
            checkpoint_ticks=10,
            keep_checkpoints=5,
        ),
        evaluation=EvaluationConfig(samples=50_000, every_checkpoints=5, extractor="pixels"),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )
