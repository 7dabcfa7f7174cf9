"""mnist32_style_alae shrunk to 480 images of at most 8x8 pixels, to see that everything runs.

Command:   alae train debug_style_alae
Expected:  nothing to look at
Cost:      about 3 s on one CPU core in alae_core's plain loop; not yet measured as a run
Status:    trains in the plain loop; not yet run by the command
"""

from dataclasses import replace

from pipelines.experiment import Experiment
from pipelines.presets import mnist32_style_alae


def experiment() -> Experiment:
    """The preset, tiny."""
    return replace(mnist32_style_alae.experiment().tiny(), name="debug_style_alae")
