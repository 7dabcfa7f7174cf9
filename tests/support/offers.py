"""Shrunk experiments by capability, and their algorithms with weights that are all effective."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import capabilities
from alae_core.algorithm import Batch
from alae_core.images import to_float
from alae_core.noise import named_seed
from pipelines.experiment import Experiment
from tests.support import tiny

EXPERIMENTS = tiny.experiments()
PROTOCOLS: dict[str, Any] = {
    name: value for name, value in vars(capabilities).items() if getattr(value, "_is_runtime_protocol", False)
}


def fresh(experiment: Experiment) -> Any:
    """Build the algorithm with nonzero weights; those of noise and styles often start at 0 and would have no effect."""
    algorithm = tiny.build(experiment).algorithm
    draws = torch.Generator().manual_seed(named_seed("filled"))
    for network in algorithm.networks.values():
        network.eval().requires_grad_(False)
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(0.3 * torch.randn(weight.shape, generator=draws))
    return algorithm


@cache
def claims(name: str) -> frozenset[str]:
    """Capabilities of the experiment's algorithm, of its Config and of its loss."""
    experiment = EXPERIMENTS[name]
    config: Any = experiment.algorithm
    with torch.device("meta"):
        parts = (config.build(), config, getattr(config, "loss", None))
    return frozenset(key for key, protocol in PROTOCOLS.items() if any(isinstance(part, protocol) for part in parts))


def offering(*wanted: type) -> Any:
    """Parametrize a test by `name`, over the experiments that offer all of these capabilities."""
    names = {protocol.__name__ for protocol in wanted}
    return pytest.mark.parametrize("name", [name for name in EXPERIMENTS if names <= claims(name)])


def moments_in_time(experiment: Experiment) -> list[int]:
    """An image count within each level and within each fade."""
    segments = experiment.schedule.segments
    fading = [s.start for s in segments if experiment.schedule.level_at(s.start).blend < 1]
    return fading + [s.stop - tiny.BATCH for s in segments]


def batch_at(experiment: Experiment, nimg: int, rows: slice) -> Batch:
    """Rows of the global batch at a position of the stream."""
    images = tuple(to_float(domain[rows]) for domain in tiny.pixels(experiment, nimg))
    return batch_of(experiment, images, nimg, rows)


def batch_of(experiment: Experiment, images: tuple[Tensor, ...], nimg: int, rows: slice) -> Batch:
    """The same with given images."""
    return Batch(images=images, level=experiment.schedule.level_at(nimg), nimg=nimg, seed=0, rows=rows, update="sample")
