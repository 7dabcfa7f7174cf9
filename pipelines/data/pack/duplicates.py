"""Duplicates in a dataset: equal pixels, or the same picture saved or scaled differently.

Near duplicates are found by a difference hash (Neal Krawetz, "Kind of Like That", 2013) and confirmed at 4x4 px. They
are reported, not removed, because variants of one drawing may be intended.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.format.codec import decode_many
from pipelines.data.format.pyramid import COARSEST, RAW_LIMIT, Kind, Shard, column_name
from pipelines.data.format.shard_files import open_shard
from pipelines.sources.decoding import Pixels

HASH_SIDE = 8
MARGIN = 2  # gray levels by which a neighbour must be brighter, so that the noise of flat areas does not set bits
NEAR_BITS = 2
NEAR_LEVELS = 4  # largest difference of any value of r4, in levels of 255
ROTATIONS = 4
NEIGHBOURS = 16  # compared in each of the sorted orders, so that the cost does not depend on the images
_GRAY = np.array([299, 587, 114])  # ITU-R 601, in thousandths

PAIRS_AT_ONCE = 2**16  # pairs compared at a time
READERS = 8  # shards read at the same time

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


class Duplicate(NamedTuple):
    """An image that equals or nearly equals an earlier one of the dataset; a line of duplicates.jsonl."""

    name: str
    same_as: str
    kind: Kind


class Pair(NamedTuple):
    """A `Duplicate` with rows instead of names."""

    row: int
    first: int
    kind: Kind


def content_hashes(images: Pixels) -> pa.Array:
    """The first 8 bytes of the SHA-256 of each image's pixels, binary(8) [N]; `images` is uint8 [N, R, R, C]."""
    return pa.array([hashlib.sha256(image).digest()[:8] for image in np.ascontiguousarray(images)], pa.binary(8))


def difference_hashes(levels: dict[int, Pixels]) -> Hashes:
    """Difference hashes uint64 [N] of the images of a pyramid, uint8 [N, R, R, C] by resolution.

    A bit is set if a cell of an 8x8 gray grid has a right neighbour that is brighter by more than 2 levels; the last
    column is compared with the first. The cells are means of the finest level up to 64 px; of a 4x4 px image each pixel
    makes four cells. Bit 63 is the cell at the top left; the others follow row by row.
    """
    finest = levels[min(RAW_LIMIT, max(levels))]
    if (scale := finest.shape[1] // HASH_SIDE) == 0:
        finest, scale = finest.repeat(2, axis=1).repeat(2, axis=2), 1
    count, side, _, channels = finest.shape
    rows = finest.reshape(count, HASH_SIDE, scale, side * channels).sum(axis=2, dtype=np.uint16)
    cells = rows.reshape(count, HASH_SIDE, HASH_SIDE, scale, channels).sum(axis=3, dtype=np.int64)
    gray = cells @ _GRAY if channels == 3 else cells[..., 0] * _GRAY.sum()
    brighter = np.roll(gray, -1, axis=2) - gray > MARGIN * scale * scale * _GRAY.sum()
    packed = np.packbits(brighter.reshape(-1, HASH_SIDE * HASH_SIDE), axis=1)
    return packed.view(">u8")[:, 0].astype(np.uint64)


def list_duplicates(url: str, shards: Sequence[Shard], channels: int) -> list[Duplicate]:
    """The duplicates among the images of a dataset's shards, in their order; reads about 64 bytes per image."""
    ends = np.cumsum([shard.rows for shard in shards])
    content, dhash = np.empty(ends[-1], np.uint64), np.empty(ends[-1], np.uint64)
    coarsest = np.empty((ends[-1], COARSEST, COARSEST, channels), np.uint8)

    def read(shard: Shard, end: int) -> None:
        rows = slice(end - shard.rows, end)
        content[rows], dhash[rows], coarsest[rows] = _read_hashes(url, channels, shard)

    with ThreadPoolExecutor(READERS) as threads:
        deque(threads.map(read, shards, ends), maxlen=0)
        pairs = find_duplicates(content, dhash, coarsest)
        named = np.unique([row for pair in pairs for row in (pair.row, pair.first)]).astype(np.int64)
        local = [
            named[(end - shard.rows <= named) & (named < end)] - end + shard.rows
            for shard, end in zip(shards, ends, strict=True)
        ]
        names = [name for part in threads.map(partial(_read_names, url), shards, local) for name in part]
    name_of = dict(zip(named.tolist(), names, strict=True))
    return [Duplicate(name_of[pair.row], name_of[pair.first], pair.kind) for pair in pairs]


def _read_hashes(url: str, channels: int, shard: Shard) -> tuple[Hashes, Hashes, Pixels]:
    with open_shard(url, shard) as file:
        table = file.read(columns=["content", "dhash", column_name(COARSEST)], use_threads=False).combine_chunks()
    content, dhash, coarsest = (column.chunk(0) for column in table.columns)
    rows = np.arange(len(table))
    pixels = decode_many(coarsest, rows, COARSEST, channels, "raw")
    return np.frombuffer(content.buffers()[1], np.uint64)[content.offset :][rows], dhash.to_numpy(), pixels


def _read_names(url: str, shard: Shard, rows: Rows) -> list[str]:
    return open_shard(url, shard).read(columns=["id"])["id"].take(pa.array(rows)).to_pylist() if len(rows) else []


def find_duplicates(content: Hashes, dhash: Hashes, coarsest: Pixels) -> list[Pair]:
    """The row of every image that equals or nearly equals an earlier one, with the row of the earliest such image.

    `content` and `dhash` are uint64 [N], `coarsest` is column r4, uint8 [N, 4, 4, C]. Among very many images with
    nearly equal hashes some near pairs may be missed, but no exact pair.
    """
    order = np.argsort(content, kind="stable")  # the earliest of equal images comes first
    begins = np.concatenate([[True], content[order][1:] != content[order][:-1]])
    first = np.empty_like(order)
    first[order] = order[begins][np.cumsum(begins) - 1]
    distinct = np.flatnonzero(first == np.arange(len(first)))
    found = [Pair(row, int(first[row]), "exact") for row in np.flatnonzero(first < np.arange(len(first))).tolist()]
    del order, begins, first
    earliest = np.arange(len(content))
    for later, earlier in _near_pairs(dhash, coarsest, distinct):
        np.minimum.at(earliest, later, earlier)
    near = np.flatnonzero(earliest < np.arange(len(earliest)))
    found += [
        Pair(later, earlier, "near") for later, earlier in zip(near.tolist(), earliest[near].tolist(), strict=True)
    ]
    return sorted(found)


def _near_pairs(dhash: Hashes, coarsest: Pixels, rows: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs (later, earlier) of `rows` that are close in one of the sorted orders and nearly equal, in parts."""
    hashes = dhash[rows]
    for turn in range(0, 64, 64 // ROTATIONS):
        # Hashes that differ in at most two bits agree in one quarter, and some turn makes it the most significant one.
        turned = hashes << np.uint64(turn) | hashes >> np.uint64(64 - turn) if turn else hashes
        order = np.argsort(turned, kind="stable")
        for distance in range(1, NEIGHBOURS + 1):
            one, other = order[distance:], order[:-distance]
            close = np.flatnonzero(np.bitwise_count(hashes[one] ^ hashes[other]) <= NEAR_BITS)
            for part in np.split(close, range(PAIRS_AT_ONCE, len(close), PAIRS_AT_ONCE)):
                left, right = rows[one[part]], rows[other[part]]
                apart = np.abs(coarsest[left].astype(np.int16) - coarsest[right]).max(axis=(1, 2, 3), initial=0)
                near = apart <= NEAR_LEVELS
                yield np.maximum(left, right)[near], np.minimum(left, right)[near]
