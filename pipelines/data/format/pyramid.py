"""The format of a packed dataset: the columns of its Parquet shards and its manifest.

Every image is stored once per resolution, in columns r4, r8, ... rR, so that a training level reads only its own bytes.
Each resolution is the exact 2x2 box average of the next finer one.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from alae_core.box_average import box_halve
from pipelines.data.format.codec import Encoding, encode
from pipelines.sources.decoding import Pixels, Square

FORMAT = "alae-pyramid"
VERSION = 2
MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
DUPLICATES = "duplicates.jsonl"
SPLITS = ("train", "validation")
COARSEST = 4
FINEST = 1024
RAW_LIMIT = 64  # largest side in pixels that is stored raw; above it an encoding saves more than decoding costs
ATTRIBUTE = "attribute."
ATTRIBUTE_TYPES = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}

AttributeType = Literal["bool", "int64", "float64", "string"]
Kind = Literal["exact", "near"]
Mapped = Callable[[Callable[[Pixels], bytes], Iterable[Pixels]], Iterable[bytes]]
"""The type of the built-in `map` and of an executor's `map`."""


@dataclass(frozen=True)
class Shard:
    """One Parquet file; `path` is relative to the dataset, `groups` holds the number of rows of each row group."""

    path: str
    rows: int
    groups: tuple[int, ...]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitShards:
    """The files of one split; global row numbers count through them in this order."""

    rows: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Labels:
    """Classes 0 to count - 1, with names if the source names its classes."""

    count: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json, which is written last: a folder that has one is a complete dataset."""

    format: str = FORMAT
    version: int = VERSION
    resolution: int
    channels: int
    encoding: Encoding  # encoding of the columns above 64 px
    columns: dict[str, Encoding]
    labels: Labels | None
    attributes: dict[str, AttributeType]
    source: str
    fingerprint: str
    seed: int
    square: Square
    validation_fraction: float
    rows_per_group: int
    rows_per_shard: int
    windows: int = 1  # number of squares taken from each image
    min_deviation: float = 0.0  # levels of 255; an image was rejected if no channel's standard deviation reaches this
    rejected: int
    duplicates: dict[Kind, int]
    notes: dict[str, int]  # losses in images of the dataset, such as further frames, and the number of images with each
    splits: dict[str, SplitShards]

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain values for `json`."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Any, where: str) -> "Manifest":
        """Validate `value` and build the manifest; raises ValueError naming its address `where`."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f"{where} is not the manifest of a packed dataset (no format {FORMAT!r})")
        if value.get("version") != VERSION:
            raise ValueError(
                f"{where} has version {value.get('version')} of the format and this program reads version {VERSION}; "
                "pack the images again into a new folder"
            )
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
    """All stored resolutions in pixels: 4, 8, and so on up to `finest`."""
    return tuple(2**power for power in range(COARSEST.bit_length() - 1, finest.bit_length()))


def column_name(resolution: int) -> str:
    """The name of the column with the images of one resolution."""
    return f"r{resolution}"


def columns(finest: int, encoding: Encoding) -> dict[str, Encoding]:
    """The image columns of a dataset, coarsest first, with their encodings."""
    return {column_name(size): _encoding_of(size, encoding) for size in resolutions(finest)}


def _encoding_of(resolution: int, encoding: Encoding) -> Encoding:
    return "raw" if resolution <= RAW_LIMIT else encoding


def attribute_types(attributes: pa.Schema) -> dict[str, AttributeType]:
    """The type of each attribute as named in the manifest; raises ValueError naming an attribute of another type."""
    words: dict[pa.DataType, Any] = {kind: word for word, kind in ATTRIBUTE_TYPES.items()}
    for field in attributes:
        if field.type not in words:
            raise ValueError(f"attribute {field.name!r} is {field.type}; it must be {', '.join(ATTRIBUTE_TYPES)}")
    return {field.name: words[field.type] for field in attributes}


def schema(finest: int, channels: int, encoding: Encoding, attributes: Mapping[str, AttributeType]) -> pa.Schema:
    """The Parquet schema of a shard."""
    fields = [pa.field("id", pa.string(), nullable=False), pa.field("label", pa.int64(), nullable=False)]
    fields += [pa.field(ATTRIBUTE + name, ATTRIBUTE_TYPES[kind]) for name, kind in attributes.items()]
    fields += [pa.field("content", pa.binary(8), nullable=False), pa.field("dhash", pa.uint64(), nullable=False)]
    for size in resolutions(finest):
        raw = _encoding_of(size, encoding) == "raw"
        fields.append(pa.field(column_name(size), pa.binary(size * size * channels if raw else -1), nullable=False))
    return pa.schema(fields)


def writer_options(finest: int, encoding: Encoding, names: Iterable[str]) -> dict[str, Any]:
    """Arguments of `ParquetWriter` for columns `names`: page checksums, and compression of large raw pixels only."""
    large = {column_name(size) for size in resolutions(finest) if size > RAW_LIMIT and encoding == "raw"}
    return {
        "compression": {name: "zstd" if name in large else "none" for name in names},
        "compression_level": dict.fromkeys(large, 1) or None,
        "use_dictionary": False,
        "write_statistics": False,
        "write_page_checksum": True,
    }


def pyramid(images: Pixels) -> dict[int, Pixels]:
    """All levels of images uint8 [N, R, R, C], keyed by resolution, finest first."""
    levels = {images.shape[1]: images}
    while min(levels) > COARSEST:
        levels[min(levels) // 2] = box_halve(levels[min(levels)])
    return levels


def to_column(images: Pixels, encoding: Encoding, mapped: Mapped = map) -> pa.Array:
    """Images of one level, uint8 [N, R, R, C], as a column of a shard; `mapped` may encode on threads."""
    if images.shape[1] > RAW_LIMIT and encoding != "raw":
        return pa.array(mapped(partial(encode, encoding=encoding), images), pa.binary())
    pixels = np.ascontiguousarray(images)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(pixels[0].size), len(pixels), [None, pa.py_buffer(pixels)])
