"""StyleALAE on LSUN bedrooms at 256x256, by the official code's tables for 8 GPUs.

Command:   alae train bedroom256_style_alae
           after: alae pack FOLDER data/bedroom256 --resolution 256  (a folder of 758,260 bedrooms, a quarter of LSUN's)
           on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
Expected:  the paper, from memory and not confirmed [M]: FID 17.13 of samples, 15.92 of reconstructions. Not yet
           measured here
Cost:      not yet measured; 84.9 million images
Status:    not yet run at full size
"""

from alae_core.algorithms import style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """2 epochs of 758,260 images a level, one of them fading; 112 epochs in all."""
    return Experiment(
        name="bedroom256_style_alae",
        algorithm=style_alae.Config(resolution=256, latent=512, base_channels=32, max_channels=512),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64, 128, 256),
            stable_kimg=(1516.52, *(758.26,) * 5, 75067.74),
            fade_kimg=(758.26,),
            batch_size=(512, 256, 128, 64, 32),
            lr=(*(0.0015,) * 6, 0.002),
        ),
        data=DataConfig(path="data/bedroom256", flip=True),
        training=TrainingConfig(microbatch=(64, 32, 16, 8, 4), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=50, extractor="pixels"),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )
