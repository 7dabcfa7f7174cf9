"""ProGAN, tuned, on FFHQ at 1024x1024: configuration B of StyleGAN's table 1, A with blur, R1 and twice the length.

Command:   alae train ffhq1024_stylegan_b
           after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
Expected:  the paper reports FID 5.25 [M]: from memory, not confirmed
Cost:      25 million images; F's time, see ffhq1024_stylegan_f
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from alae_core.networks.style_generator import Form
from pipelines.experiment import Experiment
from pipelines.presets import ffhq1024_stylegan_f


def experiment() -> Experiment:
    """F without mapping, styles and noise: the normalised latent makes the 4x4 features, pixels are normalised."""
    return replace(
        ffhq1024_stylegan_f.experiment(),
        name="ffhq1024_stylegan_b",
        algorithm=stylegan.Config(
            resolution=1024,
            mapping_layers=0,
            mixing_probability=0.0,
            form=Form(styles=False, noise=False, constant_input=False),
        ),
    )
