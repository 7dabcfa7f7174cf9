"""Presets of Style-Soft-IntroVAE (Daniel and Tamar 2021): Soft-IntroVAE's losses on StyleALAE's networks."""

from dataclasses import replace
from typing import Any

from alae_core.algorithms.soft_intro_vae import LossConfig
from alae_core.algorithms.style_soft_intro_vae import Config
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, EvaluationConfig, Experiment, ScalingConfig, TrainingConfig

TWO_CPUS = ScalingConfig(workers=2, cpus_per_worker=0.5, cpus_per_data_task=0.5, cpus_per_evaluation=0.25)


def celebahq256_style_soft_intro_vae() -> Experiment:
    """Style-Soft-IntroVAE on CelebA-HQ at 256x256, by the official code's tables for 4 GPUs.

    Command:   alae train celebahq256_style_soft_intro_vae
               after: alae pack FOLDER data/celebahq256 --resolution 256 --validation 0.0333333  (29,000 of 30,000 to train on)
    Expected:  the authors: FID 18.63 [C], 50,000 samples of the averages against the train images. Not yet measured here
    Cost:      not yet measured; 8.7 million images
    Status:    not yet run at full size

    30 epochs of 29,000 images per level, half of them in the fade; 300 epochs in total, the first as a plain VAE. The
    official code's reconstruction weight is 0.05 for images in [-1, 1], which is 0.2 for images in [0, 1]; its README says
    0.1 [C].
    """
    loss = LossConfig(
        kl_weight=0.2,
        reconstruction_weight=0.2,
        negative_weight=(2048.0, 2048.0, 2048.0, 1024.0, 512.0),
        scale=5e-6,
        warmup_kimg=(29.0, 0.0),
    )
    return Experiment(
        name="celebahq256_style_soft_intro_vae",
        algorithm=Config(resolution=256, latent=512, base_channels=64, max_channels=512, loss=loss),
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


def ffhq256_style_soft_intro_vae() -> Experiment:
    """Style-Soft-IntroVAE on FFHQ at 256x256, by the official code's tables for 4 GPUs.

    Command:   alae train ffhq256_style_soft_intro_vae
               after: alae pack FOLDER data/ffhq256 --resolution 256 --validation 0.142857  (60,000 of 70,000 to train on)
    Expected:  the authors: FID 17.55 [P, C], 50,000 samples of the averages against the train images. Not yet measured here
    Cost:      not yet measured; 18 million images
    Status:    not yet run at full size

    celebahq256_style_soft_intro_vae with other weights and lengths: 16 epochs of 60,000 images per level, half of them in
    the fade; 300 epochs in total, the first as a plain VAE. The official code's reconstruction weight is 0.1 for images in
    [-1, 1], which is 0.4 for images in [0, 1]; its README says 0.05 [C].
    """
    celebahq = celebahq256_style_soft_intro_vae()
    algorithm: Any = celebahq.algorithm
    return replace(
        celebahq,
        name="ffhq256_style_soft_intro_vae",
        algorithm=replace(algorithm, loss=replace(algorithm.loss, reconstruction_weight=0.4, warmup_kimg=(60.0, 0.0))),
        schedule=replace(
            celebahq.schedule,
            stable_kimg=(960.0, *(480.0,) * 5, 11760.0),
            fade_kimg=(480.0,),
            lr=(*(0.0015,) * 6, 0.002),
        ),
        data=replace(celebahq.data, path="data/ffhq256"),
    )


def cartoon64_style_soft_intro_vae() -> Experiment:
    """Style-Soft-IntroVAE on drawn faces at 64x64, grown from 4x4 at reduced width.

    Command:   alae train cartoon64_style_soft_intro_vae
               after: alae pack FOLDER data/cartoon64 --resolution 64 --validation 0.1
    Expected:  not yet measured
    Cost:      330 thousand images
    Status:    not yet run

    The scale is 1 / (3 * 64^2), as the official one is about 1 / (3 * 256^2); the reach of fakes is 24 nats from 32x32 up.
    Widths, learning rates and lengths suit small machines.
    """
    loss = LossConfig(
        kl_weight=0.2,
        reconstruction_weight=0.2,
        negative_weight=(1024.0, 1024.0, 512.0, 256.0, 256.0),
        scale=8e-5,
        warmup_kimg=(5.0, 0.0),
    )
    return Experiment(
        name="cartoon64_style_soft_intro_vae",
        algorithm=Config(
            resolution=64,
            latent=96,
            base_channels=24,
            max_channels=96,
            mapping_layers=4,
            rgb_gain=0.3,
            loss=loss,
        ),
        schedule=ProgressiveSchedule(
            resolutions=(4, 8, 16, 32, 64),
            stable_kimg=(20.0, 30.0, 45.0, 60.0, 75.0),
            fade_kimg=(0.0, 15.0, 20.0, 30.0, 35.0),
            batch_size=(32,),
            lr=(*(0.002,) * 4, 0.0015),
        ),
        data=DataConfig(path="data/cartoon64"),
        training=TrainingConfig(ema_half_life_kimg=3.0, tick_kimg=1.0, checkpoint_ticks=20, keep_checkpoints=3),
        evaluation=EvaluationConfig(samples=5000, extractor="pixels"),
        scaling=TWO_CPUS,
    )
