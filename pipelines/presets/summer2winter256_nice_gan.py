"""NICE-GAN on summer and winter in Yosemite, at 256x256: cat2dog256_nice_gan on other data.

Command:   alae train summer2winter256_nice_gan
           after: alae pack FOLDER data/summer2winter256 --domains folders --resolution 256
Expected:  the paper's FID, KID x 100, from memory and not confirmed [R]: to winter 76.03, 0.67; to summer 76.44,
           1.22. Not yet measured here
Cost:      as cat2dog256_nice_gan
Status:    not yet run at full size
"""

from dataclasses import replace

from pipelines.experiment import Experiment
from pipelines.presets import cat2dog256_nice_gan


def experiment() -> Experiment:
    """The configuration of cats and dogs."""
    cats = cat2dog256_nice_gan.experiment()
    return replace(cats, name="summer2winter256_nice_gan", data=replace(cats.data, path="data/summer2winter256"))
