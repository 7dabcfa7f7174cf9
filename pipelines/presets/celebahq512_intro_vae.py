"""IntroVAE on CelebA-HQ at 512x512, between the official scripts for 256 and 1024.

Command:   alae train celebahq512_intro_vae
           after: alae pack FOLDER data/celebahq512 --resolution 512 --validation 0.0333333  (29,000 of 30,000 to train on)
Expected:  no figure is published. Not yet measured here
Cost:      not yet measured; 14.5 million images. The paper: seven days [S], hardware not known
Status:    not yet run at full size

No official script exists. Chosen between those of 256 and 1024: widths by their rule, a reconstruction weight of 0.02, and a
margin that follows the real KL of four epochs as a plain VAE.
"""

from alae_core.algorithms import intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """500 epochs of 29,000 images, 4 of them as a plain VAE."""
    return Experiment(
        name="celebahq512_intro_vae",
        algorithm=intro_vae.Config(
            resolution=512,
            latent=512,
            base_channels=16,
            max_channels=512,
            group=4,
            loss=intro_vae.LossConfig(reconstruction_weight=0.02, negative_weight=0.5, warmup_kimg=(116.0,)),
        ),
        schedule=ProgressiveSchedule(resolutions=(512,), stable_kimg=(14500.0,), batch_size=(16,), lr=(0.0002,)),
        data=DataConfig(path="data/celebahq512", flip=True),
        training=TrainingConfig(optimizer=AdamConfig(beta1=0.9, beta2=0.999), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=4, gpus_per_worker=1.0),
    )
