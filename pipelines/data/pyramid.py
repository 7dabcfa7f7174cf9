"""The format of a packed dataset: the columns of its Parquet shards and its manifest.

Every image is stored once per resolution, r4 r8 ... rR, each the exact 2x2 box average of the next finer,
so that a training level reads only its own bytes.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from alae_core.images import box_halve
from pipelines.sources.decoding import Pixels, Square, decode_png, encode_png

FORMAT = "alae-pyramid"
VERSION = 1
MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
SPLITS = ("train", "validation")
COARSEST = 4
FINEST = 1024
RAW_LIMIT = 64  # pixels; above, PNG saves more than decoding costs
Encoding = Literal["raw", "png"]


@dataclass(frozen=True)
class Shard:
    """One Parquet file; `path` is relative to the dataset, `groups` are the rows of its row groups."""

    path: str
    rows: int
    groups: tuple[int, ...]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitShards:
    """The files of one split; global row numbers run through them in this order."""

    rows: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Labels:
    """Classes 0 to count - 1, with names if the source had class folders."""

    count: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What manifest.json holds; written last, so that a folder with one is a whole dataset."""

    format: str
    version: int
    resolution: int
    channels: int
    columns: dict[str, Encoding]
    labels: Labels | None
    source: str
    fingerprint: str
    seed: int
    square: Square
    validation_fraction: float
    rows_per_group: int
    rows_per_shard: int
    rejected: int
    splits: dict[str, SplitShards]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json`."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Any, where: str) -> "Manifest":
        """Checks and builds; raises ValueError naming `where` the value came from."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f"{where} is not the manifest of a packed dataset (no format {FORMAT!r})")
        if value.get("version") != VERSION:
            raise ValueError(f"{where} has version {value.get('version')}; this program reads version {VERSION}")
        try:
            manifest = TypeAdapter(Manifest).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where} is damaged: {field}: {first['msg']}; pack the dataset again") from error
        _check_counts(manifest, where)
        return manifest


def _check_counts(manifest: Manifest, where: str) -> None:
    for name, split in manifest.splits.items():
        groups = sum(sum(shard.groups) for shard in split.shards)
        shards = sum(shard.rows for shard in split.shards)
        if not split.rows == shards == groups:
            raise ValueError(
                f"{where} is damaged: split {name} has {split.rows} rows, its shards {shards}, "
                f"their row groups {groups}; pack the dataset again"
            )


def resolutions(finest: int) -> tuple[int, ...]:
    """4, 8, ..., finest."""
    return tuple(2**power for power in range(COARSEST.bit_length() - 1, finest.bit_length()))


def column_name(resolution: int) -> str:
    """The column that holds the images of one resolution."""
    return f"r{resolution}"


def encoding(resolution: int) -> Encoding:
    """How the images of one resolution are stored."""
    return "raw" if resolution <= RAW_LIMIT else "png"


def columns(finest: int) -> dict[str, Encoding]:
    """The image columns of a dataset, coarsest first, with their encodings."""
    return {column_name(size): encoding(size) for size in resolutions(finest)}


def schema(finest: int, channels: int) -> pa.Schema:
    """The Parquet schema of a shard."""
    fields = [pa.field("id", pa.string(), nullable=False), pa.field("label", pa.int64(), nullable=False)]
    for size in resolutions(finest):
        kind = pa.binary(size * size * channels) if encoding(size) == "raw" else pa.binary()
        fields.append(pa.field(column_name(size), kind, nullable=False))
    return pa.schema(fields)


def to_table(ids: Sequence[str], labels: Sequence[int], images: Pixels) -> pa.Table:
    """Rows of a shard from uint8 [N, R, R, C]; the coarser columns are computed."""
    finest, channels = images.shape[1], images.shape[3]
    arrays = []
    for size in reversed(resolutions(finest)):
        arrays.append(_to_column(images, size))
        images = box_halve(images)
    fixed = [pa.array(ids, pa.string()), pa.array(labels, pa.int64())]
    return pa.Table.from_arrays(fixed + arrays[::-1], schema=schema(finest, channels))


def _to_column(images: Pixels, size: int) -> pa.Array:
    if encoding(size) == "png":
        with ThreadPoolExecutor() as threads:
            return pa.array(threads.map(encode_png, images), pa.binary())
    pixels = np.ascontiguousarray(images)
    kind = pa.binary(pixels[0].size)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(pixels), [None, pa.py_buffer(pixels)])


def from_column(column: pa.Array, rows: NDArray[np.int64], resolution: int, channels: int) -> Pixels:
    """uint8 [len(rows), R, R, C]: the images at `rows` of a column's array."""
    shape = (resolution, resolution, channels)
    if encoding(resolution) == "png":
        found = [decode_png(column[int(row)].as_py()) for row in rows]
        return np.stack(found) if found else np.empty((0, *shape), np.uint8)
    pixels = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, *shape)
    return pixels[column.offset + rows]
