"""mnist32_alae shrunk to 160 images of at most 8x8 pixels, to see that everything runs.

Command:   alae train debug_alae
Expected:  nothing to look at
Cost:      about 1 s on one CPU core in alae_core's plain loop; not yet measured as a run
Status:    trains in the plain loop; not yet run by the command
"""

from dataclasses import replace

from pipelines.experiment import Experiment
from pipelines.presets import mnist32_alae


def experiment() -> Experiment:
    """The preset, tiny."""
    return replace(mnist32_alae.experiment().tiny(), name="debug_alae")
