"""StyleGAN without mixing and noise on FFHQ at 1024x1024: configuration D of its table 1, C and a learned constant input.

Command:   alae train ffhq1024_stylegan_d
           after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
Expected:  the paper reports FID 4.88 [M]: from memory, not confirmed
Cost:      25 million images; F's time, see ffhq1024_stylegan_f
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from alae_core.networks.style_generator import Form
from pipelines.experiment import Experiment
from pipelines.presets import ffhq1024_stylegan_f


def experiment() -> Experiment:
    """F without mixed styles and without noise."""
    return replace(
        ffhq1024_stylegan_f.experiment(),
        name="ffhq1024_stylegan_d",
        algorithm=stylegan.Config(resolution=1024, mixing_probability=0.0, form=Form(noise=False)),
    )
