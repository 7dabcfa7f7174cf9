"""Two small packed domains, and translators of known behaviour between them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alae_core.algorithms import munit, nice_gan
from alae_core.images import to_float
from alae_core.schedule import Level
from pipelines import presets
from pipelines.data.domains import open_datasets, urls
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.evaluation.subject import Subject

SIDE = 16
MUNIT = munit.Config(resolution=SIDE, latent=3, base_channels=4, hidden=8, residual_blocks=1, scales=2)
NICE_GAN = nice_gan.Config(resolution=48, base_channels=4, residual_blocks=1, discriminator_layers=6)


def one_preset_of_each() -> dict[str, str]:
    """The first preset of each algorithm of two domains, by its kind."""
    found: dict[str, str] = {}
    for name in presets.names():
        experiment = presets.load(name)
        if experiment.domains == 2:
            found.setdefault(experiment.algorithm.kind, name)
    return found


def discs(count: int, side: int = SIDE) -> np.ndarray:
    """Bright discs of random position and size on a dark noisy background, uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side]
    images = rng.integers(0, 60, (count, side, side, 3), np.uint8)
    for image, (row, column, radius) in zip(images, rng.integers(side // 4, side // 2, (count, 3)), strict=True):
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.integers(150, 256, 3)
    return images


def packed_pair(folder: Path, a: int = 60, b: int = 60, side: int = SIDE, fraction: float = 0.2) -> tuple[Dataset, ...]:
    """Pack discs of two classes, and the same discs in complementary colours; `fraction` is held out."""
    images = discs(max(a, b), side)
    for url, own in zip(urls(str(folder), 2), (images[:a], 255 - images[:b]), strict=True):
        source = folder / f"{Path(url).name}.npz"
        folder.mkdir(exist_ok=True)
        np.savez(source, images=own, labels=np.arange(len(own)) % 2)
        pack(str(source), url, resolution=side, validation_fraction=fraction)
    return open_datasets(str(folder), 2)


def subject(config: Any = MUNIT) -> Subject:
    """Build new networks."""
    torch.manual_seed(0)
    return of_algorithm(config.build(), config.resolution)


def of_algorithm(algorithm: Any, side: int = SIDE) -> Subject:
    """Build the subject of an algorithm that may have no networks."""
    for network in algorithm.networks.values():
        network.eval().requires_grad_(False)
    level = Level(index=0, resolution=side, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=3, seed=0)


@dataclass
class Known:
    """A translator without networks, defined by a function of the images and the target domain."""

    function: Callable[[Tensor, int], Tensor]
    domains = 2
    step = 4
    side = None

    @property
    def networks(self) -> dict[str, Any]:
        return {}

    def translate(self, networks: Any, batch: Any, to: int) -> Tensor:
        assert len(batch.images[to]) == 0 and len(batch.images[1 - to]) == batch.size
        return self.function(batch.images[1 - to], to)

    def reconstruct(self, networks: Any, batch: Any, domain: int) -> Tensor:
        return batch.images[domain] * (0.5 if domain == 0 else 0.25)


ECHO = Known(lambda images, to: images)
"""Returns every image unchanged."""
ORACLE = Known(lambda images, to: -images)
"""Returns the true counterpart of every image."""


def reals(dataset: Dataset, split: str = "validation", side: int = SIDE) -> Tensor:
    """All images of a split, float32 [n, C, R, R] in [-1, 1]."""
    part = dataset.split(split)
    return to_float(torch.from_numpy(part.read(side, np.arange(part.rows))))
