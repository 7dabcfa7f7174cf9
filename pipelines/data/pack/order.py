"""The order in which images are packed and its division into shards, both fixed before the first image is read.

Therefore each shard is an independent job: any process can run it at any time and writes the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.data.format.codec import Encoding
from pipelines.data.format.pyramid import RAW_LIMIT
from pipelines.sources.source import CHUNKS_AT_ONCE

Order = NDArray[np.int64]

GROUP_BYTES = 16 * 2**20  # largest size of a row group in the finest column, the least that a read fetches
GROUP_ROWS = 256
SHARD_BYTES = 256 * 2**20
SHARD_ROWS = 16384
PNG_OF_RAW = 0.5  # rough fractions of the raw bytes, to choose sizes before an image is read
JPEG_OF_RAW = 0.17


@dataclass(frozen=True)
class Job:
    """Shard `number` of a split: the squares at positions [start, stop) of the split's order."""

    split: str
    number: int
    start: int
    stop: int

    @property
    def images(self) -> int:
        """The number of squares, including those that will be rejected."""
        return self.stop - self.start

    @property
    def path(self) -> str:
        """The path of the shard's file, relative to the dataset."""
        return f"{self.split}/shard_{self.number:05d}.parquet"


def split_orders(
    count: int,
    chunks: NDArray[np.int64] | None,
    validation_fraction: float,
    seed: int,
    *,
    held_out: NDArray[np.bool_] | None = None,
    windows: int = 1,
) -> dict[str, Order]:
    """The numbers of the squares of each split, in the order of packing.

    Number s is square s % windows of image s // windows. A shuffle of all images, drawn with `seed`, decides which are
    held out, unless `held_out`, bool [count], does. With one square per image this shuffle is the order too; with
    several, the squares are shuffled again. With `chunks`, int64 [count], the chunks are shuffled and CHUNKS_AT_ONCE of
    them are read together; their squares keep their relative order from the shuffle. Raises ValueError if a requested
    split would be empty, and for a fraction together with `held_out`.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    order = random.permutation(count)
    out = _held_out(order, validation_fraction, held_out)
    if windows > 1:
        order = random.permutation(count * windows)
    validation = out[order // windows]
    splits = {"train": order[~validation], "validation": order[validation]}
    if chunks is not None:
        turn = random.permutation(int(chunks.max()) + 1) // CHUNKS_AT_ONCE
        splits = {
            name: squares[np.argsort(turn[chunks[squares // windows]], kind="stable")]
            for name, squares in splits.items()
        }
    return splits


def _held_out(order: Order, fraction: float, known: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Whether each image is for validation, bool [images]: as `known` says, or the first `fraction` of the order."""
    out = known
    if out is None:
        out = np.zeros(len(order), np.bool_)
        out[order[: round(fraction * len(order))]] = True
    elif fraction > 0:
        raise ValueError(
            f"validation_fraction={fraction} is not possible for a source that itself says which images are held out; "
            "leave it out"
        )
    held = int(out.sum())
    if held == len(order) or (held == 0 and fraction > 0):
        which = f"validation_fraction={fraction} of {len(order)} images" if known is None else "the source"
        raise ValueError(
            f"{which} gives {held} for validation, {len(order) - held} for training; both need at least one"
        )
    return out


def shard_jobs(orders: Mapping[str, Order], rows_per_shard: int) -> list[Job]:
    """The jobs of all splits, one per shard of at most `rows_per_shard` squares."""
    return [
        Job(split, number, start, min(start + rows_per_shard, len(order)))
        for split, order in orders.items()
        for number, start in enumerate(range(0, len(order), rows_per_shard))
    ]


def stored_bytes(resolution: int, channels: int, encoding: Encoding) -> int:
    """The approximate bytes of one image in the column of one resolution; exact for raw pixels and up to 64 px."""
    raw = resolution * resolution * channels
    share = {"raw": 1.0, "png": PNG_OF_RAW, "jpeg": JPEG_OF_RAW}[encoding if resolution > RAW_LIMIT else "raw"]
    return round(raw * share)


def image_bytes(resolution: int, channels: int, encoding: Encoding) -> int:
    """The approximate bytes of one image in all columns; the coarser levels add a third."""
    return stored_bytes(resolution, channels, encoding) * 4 // 3


def rows_per_group(resolution: int, channels: int, encoding: Encoding) -> int:
    """The default rows per row group, a power of two: at most 256 images and 16 MiB of the finest column."""
    return _power_of_two(min(GROUP_ROWS, GROUP_BYTES // stored_bytes(resolution, channels, encoding)))


def rows_per_shard(resolution: int, channels: int, encoding: Encoding) -> int:
    """The default rows per shard, a power of two: at most 16,384 images and 256 MiB of all columns."""
    return _power_of_two(min(SHARD_ROWS, SHARD_BYTES // image_bytes(resolution, channels, encoding)))


def _power_of_two(most: int) -> int:
    return 1 << (max(1, most).bit_length() - 1)
