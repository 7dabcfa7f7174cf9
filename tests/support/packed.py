"""Small sources and datasets that several tests use for packing."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.data.domains import FOLDERS
from pipelines.data.format import shards
from pipelines.data.pack.pack import pack

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


def striped_parquet(file: Path, count: int, rows_per_group: int = 10) -> str:
    """Write a table of constant PNG images whose pixels equal the row number, with two attributes.

    The second attribute is null in some rows.
    """
    images = []
    for number in range(count):
        png = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(png, "png")
        images.append(png.getvalue())
    even = [number % 2 == 0 for number in range(count)]
    size = [number if number % 3 else None for number in range(count)]
    table = pa.table({"image": images, "even": even, "size": pa.array(size, pa.int64())})
    pq.write_table(table, file, row_group_size=rows_per_group)
    return str(file)


def all_rows(split: shards.Split) -> np.ndarray:
    return np.arange(split.rows)


def flip_a_byte(shard: Path, group: int, column: str) -> None:
    """Flip one bit within the last value of a column in a row group."""
    with pq.ParquetFile(shard) as stored:
        chunk = stored.metadata.row_group(group).column(stored.schema_arrow.names.index(column))
    flip(shard, chunk.data_page_offset + chunk.total_compressed_size - 1)


def flip(file: Path, offset: int) -> None:
    """Flip one bit of the byte at `offset`; a negative offset counts from the end."""
    data = bytearray(file.read_bytes())
    data[offset] ^= 1
    file.write_bytes(data)


def differing(left: dict[str, bytes], right: dict[str, bytes]) -> list[str]:
    """The names of the files that differ or are missing in one of the two."""
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))


def pack_two_domains(
    folder: Path, counts: tuple[int, int] = (200, 136), side: int = 8, validation_fraction: float = 0.0
) -> str:
    """Pack random images as two domains with uneven row groups; an epoch of one domain ends within one of the other."""
    for domain, (name, count) in enumerate(zip(FOLDERS, counts, strict=True)):
        images = np.random.default_rng(domain).integers(0, 256, (count, side, side, 3), np.uint8)
        np.savez(folder / f"{name}.npz", images=images)
        pack(
            str(folder / f"{name}.npz"),
            str(folder / "pair" / name),
            validation_fraction=validation_fraction,
            rows_per_group=48,
            rows_per_shard=96,
        )
    return str(folder / "pair")
