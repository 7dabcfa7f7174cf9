"""A dataset with visible attributes: the bar's direction, the background's brightness, and columns that are not binary."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack

SIDE, COUNT = 8, 300


def bars(count: int = COUNT, seed: int = 0) -> dict[str, np.ndarray]:
    """Images uint8 [count, 8, 8] of a bar with `down` (bool), `bright` (3 or 7), and columns that are not binary."""
    rng = np.random.default_rng(seed)
    down, bright = rng.integers(0, 2, (2, count)).astype(bool)
    images = rng.integers(0, 40, (count, SIDE, SIDE)) + 60 * bright[:, None, None]
    for image, vertical, place in zip(images, down, rng.integers(0, SIDE - 1, count), strict=True):
        lines = image.T if vertical else image
        lines[place : place + 2] = 220
    return {
        "images": images.astype(np.uint8),
        "labels": (2 * down + bright).astype(np.int64),
        "down": down,
        "bright": np.where(bright, 7, 3),
        "third": np.arange(count) % 3,
        "always": np.ones(count, bool),
        "weight": rng.random(count),
    }


def packed_bars(folder: Path, fraction: float = 0.1, **arrays: np.ndarray) -> Dataset:
    """Pack a dataset of these arrays, or of `bars`."""
    np.savez(folder / "bars.npz", **(arrays or bars()))
    pack(str(folder / "bars.npz"), str(folder / "bars"), resolution=SIDE, validation_fraction=fraction)
    return Dataset.open(str(folder / "bars"))


@pytest.fixture(scope="session")
def barred(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of `bars` for the session; tests must not change it."""
    return packed_bars(tmp_path_factory.mktemp("bars"))
