"""StyleGAN with a dense input on FFHQ at 1024x1024: configuration C of its table 1, B and mapping and styles.

Command:   alae train ffhq1024_stylegan_c
           after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
Expected:  the paper reports FID 4.85 [M]: from memory, not confirmed
Cost:      25 million images; F's time, see ffhq1024_stylegan_f
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from alae_core.networks.style_generator import Form
from pipelines.experiment import Experiment
from pipelines.presets import ffhq1024_stylegan_f


def experiment() -> Experiment:
    """F without mixed styles and noise; the first code makes the 4x4 features."""
    return replace(
        ffhq1024_stylegan_f.experiment(),
        name="ffhq1024_stylegan_c",
        algorithm=stylegan.Config(
            resolution=1024, mixing_probability=0.0, form=Form(noise=False, constant_input=False)
        ),
    )
