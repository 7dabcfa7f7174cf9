"""MUNIT on edges and photographs of handbags, at 256x256: edges2shoes256_munit on other data.

Command:   alae train edges2handbags256_munit
           after: alae pack FOLDER data/edges2handbags256 --domains side_by_side --resolution 256 --encoding jpeg
Expected:  the paper's LPIPS diversity [P]: 0.175 (random real pairs 0.371). Not yet measured here
Cost:      as edges2shoes256_munit
Status:    not yet run at full size
"""

from dataclasses import replace

from pipelines.experiment import Experiment
from pipelines.presets import edges2shoes256_munit


def experiment() -> Experiment:
    """The configuration of the shoes."""
    shoes = edges2shoes256_munit.experiment()
    data = replace(shoes.data, path="data/edges2handbags256")
    return replace(shoes, name="edges2handbags256_munit", data=data)
