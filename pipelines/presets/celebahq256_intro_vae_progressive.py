"""IntroVAE on CelebA-HQ at 256x256, grown from 8x8.

Command:   alae train celebahq256_intro_vae_progressive
           after: alae pack FOLDER data/celebahq256 --resolution 256 --validation 0.0333333  (29,000 of 30,000 to train on)
Expected:  no figure is published of a growing IntroVAE. Not yet measured here
Cost:      not yet measured; 8.7 million images
Status:    not yet run at full size

The levels are those of celebahq256_style_alae from 8x8 up, as the growing IntroVAE that is public begins there [C:
progressive_introvae]; its losses have errors and are not followed. The margin follows the real KL of each level.
"""

from alae_core.algorithms import intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """30 epochs of 29,000 images a level, half of them fading; a level begins as a plain VAE."""
    return Experiment(
        name="celebahq256_intro_vae_progressive",
        algorithm=intro_vae.Config(
            resolution=256,
            latent=512,
            base_channels=32,
            max_channels=512,
            first_resolution=8,
            loss=intro_vae.LossConfig(reconstruction_weight=0.05, negative_weight=0.5, warmup_kimg=(290.0, 145.0)),
        ),
        schedule=ProgressiveSchedule(
            resolutions=(8, 16, 32, 64, 128, 256),
            stable_kimg=(870.0, *(435.0,) * 4, 3915.0),
            fade_kimg=(435.0,),
            batch_size=(128, 128, 64, 32, 16),
            lr=(0.0002,),
        ),
        data=DataConfig(path="data/celebahq256", flip=True),
        training=TrainingConfig(optimizer=AdamConfig(beta1=0.9, beta2=0.999), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=1, gpus_per_worker=1.0),
    )
