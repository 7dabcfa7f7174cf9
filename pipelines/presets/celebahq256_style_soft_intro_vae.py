"""Style-Soft-IntroVAE on CelebA-HQ at 256x256, by the official code's tables for 4 GPUs.

Command:   alae train celebahq256_style_soft_intro_vae
           after: alae pack FOLDER data/celebahq256 --resolution 256 --validation 0.0333333  (29,000 of 30,000 to train on)
Expected:  the authors: FID 18.63 [C], 50,000 samples of the averages against the train images. Not yet measured here
Cost:      not yet measured; 8.7 million images
Status:    not yet run at full size

The code's weight of the reconstruction is 0.05 of images in [-1, 1], which is 0.2 of images in [0, 1]; its README says 0.1 [C].
"""

from alae_core.algorithms import style_soft_intro_vae
from alae_core.algorithms.soft_intro_vae import LossConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """30 epochs of 29,000 images a level, half of them fading; 300 epochs in all, the first as a plain VAE."""
    return Experiment(
        name="celebahq256_style_soft_intro_vae",
        algorithm=style_soft_intro_vae.Config(
            resolution=256,
            latent=512,
            base_channels=64,
            max_channels=512,
            loss=LossConfig(
                kl_weight=0.2,
                reconstruction_weight=0.2,
                negative_weight=(2048.0, 2048.0, 2048.0, 1024.0, 512.0),
                scale=5e-6,
                warmup_kimg=(29.0, 0.0),
            ),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64, 128, 256),
            stable_kimg=(870.0, *(435.0,) * 5, 3045.0),
            fade_kimg=(435.0,),
            batch_size=(512, 256, 128, 64, 32, 32, 16),
            lr=(0.0015,),
        ),
        data=DataConfig(path="data/celebahq256", flip=True),
        training=TrainingConfig(tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=4, gpus_per_worker=1.0),
    )
