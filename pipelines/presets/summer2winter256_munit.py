"""MUNIT on summer and winter in Yosemite, at 256x256.

Command:   alae train summer2winter256_munit
           after: alae pack FOLDER data/summer2winter256 --domains folders --resolution 256
Expected:  the paper has no number of it. Not yet measured here
Cost:      not yet measured; 1 million images of each domain. A user of the official code told of 0.43 s an iteration on a
           Titan Xp
Status:    not yet run at full size

The official configuration [C], whose cycle weight of 10 keeps every pixel in its place.
"""

from dataclasses import replace

from alae_core.algorithms import munit
from pipelines.experiment import Experiment
from pipelines.presets import edges2shoes256_munit


def experiment() -> Experiment:
    """The configuration of the shoes, with a cycle."""
    shoes = edges2shoes256_munit.experiment()
    return replace(
        shoes,
        name="summer2winter256_munit",
        algorithm=munit.Config(resolution=256, loss=munit.LossConfig(recon_x_cyc_w=10.0)),
        data=replace(shoes.data, path="data/summer2winter256"),
    )
