"""Ablation of StyleALAE on CelebA at 128x128: separate encoder and discriminator.

StyleGAN's discriminator plays on images; the encoder learns from reciprocity alone; F learns at 0.01 of the rate, as
in the official code's ablation.

Command:   alae train celeba128_style_alae_separate
           after packing as for celeba128_style_alae
Expected:  unreported. Not yet measured here
Cost:      not yet measured; 12.2 million images
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import style_alae
from pipelines.experiment import Experiment
from pipelines.presets import celeba128_style_alae


def experiment() -> Experiment:
    """As celeba128_style_alae, for 67 epochs, with a discriminator on images."""
    whole = celeba128_style_alae.experiment()
    return replace(
        whole,
        name="celeba128_style_alae_separate",
        algorithm=style_alae.Config(
            resolution=128,
            latent=256,
            base_channels=64,
            max_channels=256,
            discriminator="image",
            mapping_lr_multiplier=0.01,
        ),
        schedule=replace(whole.schedule, stable_kimg=(*whole.schedule.stable_kimg[:-1], 6209.658)),
    )
