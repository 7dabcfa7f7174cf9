"""Small sources and datasets that several tests pack."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data import shards
from pipelines.data.packing import pack

COUNT = 40
SMALL: dict[str, Any] = {"rows_per_group": 4, "rows_per_shard": 12}


def colours(count: int = COUNT, side: int = 16) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.fixture
def npz(tmp_path: Path) -> str:
    np.savez(tmp_path / "source.npz", images=colours(), labels=np.arange(COUNT) % 10)
    return str(tmp_path / "source.npz")


@pytest.fixture
def packed(npz: str, tmp_path: Path) -> str:
    pack(npz, str(tmp_path / "packed"), **SMALL)
    return str(tmp_path / "packed")


def files_of(folder: str | Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.*"))}


def image_folder(root: Path, images: np.ndarray) -> str:
    root.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(root / f"{index:03d}.png")
    return str(root)


def all_rows(split: shards.Split) -> np.ndarray:
    return np.arange(split.rows)
