"""StyleALAE on CelebA at 128x128, by the official code's tables for 8 GPUs.

Command:   alae train celeba128_style_alae
           after: alae pack FOLDER data/celeba128 --resolution 128  (the official code first crops each image to rows 60
           to 187 and columns 25 to 152, and trains on train and validation: 182,637 images)
           on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
Expected:  the paper reports no figure that we know of. Not yet measured here
Cost:      not yet measured; 14.6 million images
Status:    not yet run at full size
"""

from alae_core.algorithms import style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """6 epochs of 182,637 images a level, half of them fading; 80 epochs in all."""
    return Experiment(
        name="celeba128_style_alae",
        algorithm=style_alae.Config(resolution=128, latent=256, base_channels=64, max_channels=256),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64, 128),
            stable_kimg=(1095.822, *(547.911,) * 4, 8583.939),
            fade_kimg=(547.911,),
            batch_size=(512, 256, 128, 64, 32),
            lr=(0.0015,),
        ),
        data=DataConfig(path="data/celeba128", flip=True),
        training=TrainingConfig(microbatch=(64, 32, 16, 8, 4), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )
