"""Style-Soft-IntroVAE on FFHQ at 256x256, by the official code's tables for 4 GPUs.

Command:   alae train ffhq256_style_soft_intro_vae
           after: alae pack FOLDER data/ffhq256 --resolution 256 --validation 0.142857  (60,000 of 70,000 to train on)
Expected:  the authors: FID 17.55 [P, C], 50,000 samples of the averages against the train images. Not yet measured here
Cost:      not yet measured; 18 million images
Status:    not yet run at full size

The code's weight of the reconstruction is 0.1 of images in [-1, 1], which is 0.4 of images in [0, 1]; its README says 0.05 [C].
"""

from alae_core.algorithms import style_soft_intro_vae
from alae_core.algorithms.soft_intro_vae import LossConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """16 epochs of 60,000 images a level, half of them fading; 300 epochs in all, the first as a plain VAE."""
    return Experiment(
        name="ffhq256_style_soft_intro_vae",
        algorithm=style_soft_intro_vae.Config(
            resolution=256,
            latent=512,
            base_channels=64,
            max_channels=512,
            loss=LossConfig(
                kl_weight=0.2,
                reconstruction_weight=0.4,
                negative_weight=(2048.0, 2048.0, 2048.0, 1024.0, 512.0),
                scale=5e-6,
                warmup_kimg=(60.0, 0.0),
            ),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64, 128, 256),
            stable_kimg=(960.0, *(480.0,) * 5, 11760.0),
            fade_kimg=(480.0,),
            batch_size=(512, 256, 128, 64, 32, 32, 16),
            lr=(*(0.0015,) * 6, 0.002),
        ),
        data=DataConfig(path="data/ffhq256", flip=True),
        training=TrainingConfig(tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=4, gpus_per_worker=1.0),
    )
