"""Ablation of StyleALAE on CelebA at 128x128: no style encoder.

The encoder is a plain convolutional trunk, without statistics and norms.

Command:   alae train celeba128_style_alae_nostyle
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
    """As celeba128_style_alae, for 67 epochs, with a plain encoder."""
    whole = celeba128_style_alae.experiment()
    return replace(
        whole,
        name="celeba128_style_alae_nostyle",
        algorithm=style_alae.Config(resolution=128, latent=256, base_channels=64, max_channels=256, encoder="plain"),
        schedule=replace(whole.schedule, stable_kimg=(*whole.schedule.stable_kimg[:-1], 6209.658)),
    )
