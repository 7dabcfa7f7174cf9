"""StyleALAE on CelebA-HQ at 256x256, by the official code's tables for 8 GPUs.

Command:   alae train celebahq256_style_alae
           after: alae pack FOLDER data/celebahq256 --resolution 256 --validation 0.0333333  (29,000 of 30,000 to train on)
           on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
Expected:  the paper, from memory and not confirmed [M]: FID 19.21, path length (full) 33.29. Not yet measured here
Cost:      not yet measured; 8.1 million images
Status:    not yet run at full size
"""

from alae_core.algorithms import style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """30 epochs of 29,000 images a level, half of them fading; 280 epochs in all."""
    return Experiment(
        name="celebahq256_style_alae",
        algorithm=style_alae.Config(resolution=256, latent=512, base_channels=64, max_channels=512),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64, 128, 256),
            stable_kimg=(870.0, *(435.0,) * 5, 2465.0),
            fade_kimg=(435.0,),
            batch_size=(512, 256, 128, 64, 32),
            lr=(0.0015,),
        ),
        data=DataConfig(path="data/celebahq256", flip=True),
        training=TrainingConfig(microbatch=(64, 32, 16, 8, 4), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )
