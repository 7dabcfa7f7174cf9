"""IntroVAE on CelebA-HQ at 128x128, by the one public log of a healthy run.

Command:   alae train celebahq128_intro_vae
           after: alae pack FOLDER data/celebahq128 --resolution 128 --validation 0.0333333  (29,000 of 30,000 to train on)
Expected:  that log, CelebA at 128x128 [C: eking2]: real KL near 80, reconstruction KL about the margin after 10 epochs,
           sample KL after 200; the paper's MS-SSIM of CelebA at 128x128 is 0.2719 [S]. Not yet measured here
Cost:      not yet measured; 14.5 million images. The paper: half a day [S], hardware not known
Status:    not yet run at full size

The log's settings [C]: m 110, alpha 0.25 for both sides, beta 0.5 with the paper's half (0.25 here), latent 256, batch 256,
rate 2e-4. It has no normalisation and one Adam for both networks; here they are as everywhere. No official script exists.
"""

from alae_core.algorithms import intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """500 epochs of 29,000 images, with the light widths of that log."""
    return Experiment(
        name="celebahq128_intro_vae",
        algorithm=intro_vae.Config(
            resolution=128,
            latent=256,
            base_channels=16,
            max_channels=256,
            loss=intro_vae.LossConfig(
                reconstruction_weight=0.25,
                negative_weight=0.5,
                generator_weight=0.25,
                margin=(110.0,),
                warmup_kimg=(0.0,),
            ),
        ),
        schedule=ProgressiveSchedule(resolutions=(128,), stable_kimg=(14500.0,), batch_size=(256,), lr=(0.0002,)),
        data=DataConfig(path="data/celebahq128", flip=True),
        training=TrainingConfig(optimizer=AdamConfig(beta1=0.9, beta2=0.999), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=4, gpus_per_worker=1.0),
    )
