"""StyleGAN without mixing on FFHQ at 1024x1024: configuration E of its table 1, D and noise inputs.

Command:   alae train ffhq1024_stylegan_e
           after: alae pack <folder of FFHQ> data/ffhq1024 --resolution 1024
Expected:  the paper reports FID 4.42 [M]: from memory, not confirmed
Cost:      25 million images; F's time, see ffhq1024_stylegan_f
Status:    not yet run at full size
"""

from dataclasses import replace

from alae_core.algorithms import stylegan
from pipelines.experiment import Experiment
from pipelines.presets import ffhq1024_stylegan_f


def experiment() -> Experiment:
    """F without mixed styles."""
    return replace(
        ffhq1024_stylegan_f.experiment(),
        name="ffhq1024_stylegan_e",
        algorithm=stylegan.Config(resolution=1024, mixing_probability=0.0),
    )
