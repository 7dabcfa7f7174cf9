"""StyleALAE on FFHQ at 1024x1024, by the official code's tables for 8 GPUs.

Command:   alae train ffhq1024_style_alae
           after: alae pack FOLDER data/ffhq1024 --resolution 1024 --validation 0.142857  (60,000 of 70,000 to train on)
           on one GPU: scaling.workers=1; the batch stays the same and is accumulated from the same parts
           on 8 GPUs of 16 GB, as the official code advises: schedule.batch_size=512,256,128,64,32,32,32,32,24
           training.microbatch=64,32,16,8,4,4,4,4,3
Expected:  the paper, from memory and not confirmed [M]: FID 13.09 of samples, 16.52 of reconstructions; path length
           in W 134.5 (full), 103.4 (end). Not yet measured here
Cost:      18 million images. The authors: 2 days to 512 and 2 more at 1024, on 8 Titan RTX
           [C: github.com/podgorskiy/ALAE/issues/60]
Status:    not yet run at full size
"""

from alae_core.algorithms import style_alae
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """16 epochs of 60,000 images a level, half of them fading; 300 epochs in all."""
    return Experiment(
        name="ffhq1024_style_alae",
        algorithm=style_alae.Config(resolution=1024, latent=512, base_channels=16, max_channels=512),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64, 128, 256, 512, 1024),
            stable_kimg=(960.0, *(480.0,) * 7, 9840.0),
            fade_kimg=(480.0,),
            batch_size=(512, 256, 128, 64, 32),
            lr=(*(0.0015,) * 6, 0.002, 0.003),
        ),
        data=DataConfig(path="data/ffhq1024", flip=True, window_images=1024, read_ahead_gib=6.0),
        training=TrainingConfig(microbatch=(64, 32, 16, 8, 4), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=8, gpus_per_worker=1.0),
    )
