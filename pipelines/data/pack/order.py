"""In which order images are packed and how that order is cut into shards: fixed before the first image is read.

So each shard is a job of its own. Any process can do it, in any order, and gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.data.format.codec import Encoding
from pipelines.data.format.pyramid import RAW_LIMIT
from pipelines.sources.source import CHUNKS_AT_ONCE

Order = NDArray[np.int64]

GROUP_BYTES = 16 * 2**20  # of the finest column, what a read fetches at least
GROUP_ROWS = 256
SHARD_BYTES = 256 * 2**20
SHARD_ROWS = 16384
PNG_OF_RAW = 0.5  # rough shares of the raw bytes, to choose sizes before an image is read
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
        """Of the source; those that are rejected among them."""
        return self.stop - self.start

    @property
    def path(self) -> str:
        """The shard's file, relative to the dataset."""
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
    """For each split the numbers of its squares in the order of packing: number s is square s % windows of image
    s // windows.

    One shuffle of all images decides which are held out, if `held_out` [count] does not say so. Of one square each it
    is the order too; of several, the squares are shuffled anew. With `chunks` their order is shuffled, so many as a
    reader keeps at once are read together, and the squares of these keep the order they have among themselves.
    Raises ValueError if a split that is asked for would be empty, and for a fraction beside `held_out`.
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
    """Which images are for validation: those that are known to be, or the first of the order."""
    out = known
    if out is None:
        out = np.zeros(len(order), np.bool_)
        out[order[: round(fraction * len(order))]] = True
    elif fraction > 0:
        raise ValueError(
            f"validation_fraction={fraction} has no place beside a source that says itself which images are held out; "
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
    """The shards of all splits."""
    return [
        Job(split, number, start, min(start + rows_per_shard, len(order)))
        for split, order in orders.items()
        for number, start in enumerate(range(0, len(order), rows_per_shard))
    ]


def stored_bytes(resolution: int, channels: int, encoding: Encoding) -> int:
    """About how many bytes one image takes in the column of one resolution; exact for raw up to 64 px."""
    raw = resolution * resolution * channels
    share = {"raw": 1.0, "png": PNG_OF_RAW, "jpeg": JPEG_OF_RAW}[encoding if resolution > RAW_LIMIT else "raw"]
    return round(raw * share)


def image_bytes(resolution: int, channels: int, encoding: Encoding) -> int:
    """About how many bytes one image takes in all columns: the coarser levels add a third."""
    return stored_bytes(resolution, channels, encoding) * 4 // 3


def rows_per_group(resolution: int, channels: int, encoding: Encoding) -> int:
    """A power of two: 256 images, or what fits 16 MiB of the finest column."""
    return _power_of_two(min(GROUP_ROWS, GROUP_BYTES // stored_bytes(resolution, channels, encoding)))


def rows_per_shard(resolution: int, channels: int, encoding: Encoding) -> int:
    """A power of two: 16,384 images, or what fits 256 MiB of all columns."""
    return _power_of_two(min(SHARD_ROWS, SHARD_BYTES // image_bytes(resolution, channels, encoding)))


def _power_of_two(most: int) -> int:
    return 1 << (max(1, most).bit_length() - 1)
