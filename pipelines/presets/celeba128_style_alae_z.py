"""Ablation of StyleALAE on CelebA at 128x128: regression in Z.

The encoder finds z, not w, in the image of z; a reconstruction is G(F(E(x))).

Command:   alae train celeba128_style_alae_z
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
    """As celeba128_style_alae, for 67 epochs, with reciprocity in Z."""
    whole = celeba128_style_alae.experiment()
    return replace(
        whole,
        name="celeba128_style_alae_z",
        algorithm=style_alae.Config(resolution=128, latent=256, base_channels=64, max_channels=256, reciprocity="z"),
        schedule=replace(whole.schedule, stable_kimg=(*whole.schedule.stable_kimg[:-1], 6209.658)),
    )
