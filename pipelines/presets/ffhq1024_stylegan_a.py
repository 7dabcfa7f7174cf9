"""ProGAN on FFHQ at 1024x1024: configuration A of StyleGAN's table 1, the baseline. Grown from 8x8 as the others, not 4x4.

Command:   alae train ffhq1024_stylegan_a
           after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
Expected:  the paper reports FID 8.04 [C: royalroad.pages.dev/papers/karrasStyleGAN2019]
Cost:      12 million images, about half of F's time, see ffhq1024_stylegan_f
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from alae_core.algorithms.stylegan import LossConfig
from alae_core.networks.style_generator import Form
from pipelines.experiment import Experiment
from pipelines.presets import ffhq1024_stylegan_f


def experiment() -> Experiment:
    """WGAN-GP with ProGAN's networks: nearest-neighbour upsampling, pixel norm, no mapping, styles and noise."""
    full = ffhq1024_stylegan_f.experiment()
    return replace(
        full,
        name="ffhq1024_stylegan_a",
        algorithm=stylegan.Config(
            resolution=1024,
            mapping_layers=0,
            mixing_probability=0.0,
            form=Form(blur=False, styles=False, noise=False, constant_input=False),
            loss=LossConfig(adversarial="wgan_gp"),
        ),
        schedule=replace(full.schedule, stable_kimg=(*full.schedule.stable_kimg[:-1], 3_600.0)),
    )
