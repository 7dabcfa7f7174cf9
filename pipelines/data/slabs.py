"""What a reading task does: the images of one span of the stream, cut into one slab per rank.

A slab is one row of a table, and its bytes are the rank's share of every batch of the span. Nothing here imports torch,
so that the processes of the tasks start quickly and stay small.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from alae_core.order import Rows, Span, StreamOrder
from pipelines.data.memory import Memory
from pipelines.data.shards import Damage, Damaged, Split, places
from pipelines.sources.decoding import Pixels

SLAB = pa.schema(
    [
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("rank", pa.int64()),
        ("pixels", pa.large_binary()),
        ("skipped", pa.list_(pa.int64())),  # positions in the stream that hold another image of their window
        ("damage", pa.list_(pa.string())),  # a sentence per damaged row group
        ("error", pa.string()),  # why there are no pixels
    ]
)


@dataclass(frozen=True)
class SlabReader:
    """Reads spans of the stream for so many ranks."""

    split: Split
    seed: int
    ranks: int
    damaged: Damaged = "stop"
    """Of images that cannot be read: hand on the reason in place of the pixels, or put others in their place."""
    threads: int = 1
    """That decode at the same time."""

    @cached_property
    def _memory(self) -> Memory:
        return Memory()

    @cached_property
    def _order(self) -> StreamOrder:
        return StreamOrder(self.split.group_sizes, self.seed)

    def read(self, span: Span) -> Iterator[pa.Table]:
        """The slabs of a span, rank after rank; each with the columns of SLAB."""
        rows = np.concatenate([self._order.rows(window.start, window.stop) for window in span.windows])
        batches = np.arange(len(rows)).reshape(-1, self.ranks, span.batch_size // self.ranks)
        # The pixels are read straight into the order of the slabs: rank, batch, image.
        order = batches.transpose(1, 0, 2).reshape(-1)
        pixels, damage = self.split.read_sound(span.resolution, rows[order], self.threads, self._memory.room)
        sentences = [part.sentence for part in damage]
        if not damage:
            yield from self._slabs(span, pixels, [], [])
        elif self.damaged == "stop":
            yield from self._refusals(span, f"{sentences[0]}, or train on without its images by data.damaged=skip")
        elif (skipped := _put_others(pixels, order, damage, span)) is None:
            yield from self._refusals(span, f"{sentences[0]}, and nothing else is left to put in its place")
        else:
            yield from self._slabs(span, pixels, (span.start + skipped).tolist(), sentences)

    def _slabs(self, span: Span, pixels: Pixels, skipped: list[int], sentences: list[str]) -> Iterator[pa.Table]:
        for rank, part in enumerate(np.split(pixels, self.ranks)):
            ends = pa.py_buffer(np.array([0, part.size], np.int64))
            # Built on the array's own memory: the bytes are copied once, into the object store.
            blob = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(part)])
            yield _row(span, rank, blob, skipped, sentences, None)

    def _refusals(self, span: Span, reason: str) -> Iterator[pa.Table]:
        for rank in range(self.ranks):
            yield _row(span, rank, pa.array([b""], pa.large_binary()), [], [], reason)


def _row(span: Span, rank: int, pixels: pa.Array, skipped: list[int], damage: list[str], error: str | None) -> pa.Table:
    columns = [[span.start], [span.stop], [rank], pixels, [skipped], [damage], [error]]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SLAB, strict=True)], SLAB)


def _put_others(pixels: Pixels, order: Rows, damage: list[Damage], span: Span) -> Rows | None:
    """Put whole images in the places of damaged ones, and return the offsets of those in the span, ascending.

    The k-th damaged image of a window, in the order of the stream, becomes the window's k-th whole one, counted round
    and round. None if a window has no whole image. `order`: the offset in the span of each image of `pixels`.
    """
    place = np.argsort(order)
    lost = np.zeros(len(order), bool)
    lost[order[places(damage)]] = True
    for window in span.windows:
        offsets = np.arange(window.start, window.stop) - span.start
        gaps, whole = offsets[lost[offsets]], offsets[~lost[offsets]]
        if len(gaps) and not len(whole):
            return None
        pixels[place[gaps]] = pixels[place[np.resize(whole, len(gaps))]]
    return np.flatnonzero(lost)
