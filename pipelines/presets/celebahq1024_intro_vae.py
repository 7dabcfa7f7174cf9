"""IntroVAE on CelebA-HQ at 1024x1024, by the official script.

Command:   alae train celebahq1024_intro_vae
           after: alae pack FOLDER data/celebahq1024 --resolution 1024 --validation 0.0333333  (29,000 of 30,000 to train on)
           the paper's own three numbers, from memory and not confirmed [R]: algorithm.loss.margin=90
           algorithm.loss.reconstruction_weight=0.00125 algorithm.loss.generator_weight=0.25
Expected:  the paper's FID on CelebA-HQ, from memory and not confirmed [R]: 5.19. Not yet measured here
Cost:      not yet measured; 14.5 million images. The paper: 21 days [S], hardware not known
Status:    not yet run at full size

The script [C]: m 500, reconstruction weight 0.01, E's fakes at half of 1, 4 epochs as a plain VAE, rate 2e-4, batch 12 on 4
GPUs; here 16, so that each GPU holds a whole group of 4 whose mean KL meets the margin.
"""

from alae_core.algorithms import intro_vae
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig


def experiment() -> Experiment:
    """500 epochs of 29,000 images, 4 of them as a plain VAE."""
    return Experiment(
        name="celebahq1024_intro_vae",
        algorithm=intro_vae.Config(
            resolution=1024,
            latent=512,
            base_channels=16,
            max_channels=512,
            group=4,
            loss=intro_vae.LossConfig(
                reconstruction_weight=0.01, negative_weight=1.0, margin=(500.0,), warmup_kimg=(116.0,)
            ),
        ),
        schedule=ProgressiveSchedule(resolutions=(1024,), stable_kimg=(14500.0,), batch_size=(16,), lr=(0.0002,)),
        data=DataConfig(path="data/celebahq1024", flip=True, window_images=1024, read_ahead_gib=6.0),
        training=TrainingConfig(optimizer=AdamConfig(beta1=0.9, beta2=0.999), tick_kimg=10.0, keep_checkpoints=20),
        evaluation=EvaluationConfig(every_checkpoints=10, extractor="pixels"),
        scaling=ScalingConfig(workers=4, gpus_per_worker=1.0),
    )
