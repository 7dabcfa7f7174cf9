"""What a reading task does: the images of one span of the stream, cut into one slab per rank.

A slab is one row of a table, and its bytes are the rank's share of every batch of the span: of each batch the images of
one domain after those of the other. Nothing here imports torch, so that the processes of the tasks start quickly and stay
small.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from alae_core.order import Rows, Span, StreamOrder
from pipelines.data.feed.memory import Memory
from pipelines.data.format.shards import Damage, Damaged, Split, places
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

    splits: tuple[Split, ...]
    """One per domain, all with images of as many channels."""
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
    def _orders(self) -> tuple[StreamOrder, ...]:
        return tuple(StreamOrder(split.group_sizes, self.seed, domain) for domain, split in enumerate(self.splits))

    def read(self, span: Span) -> Iterator[pa.Table]:
        """The slabs of a span, rank after rank; each with the columns of SLAB."""
        slots = self._slots(span)
        pixels = self._memory.room((slots.size, span.resolution, span.resolution, self.splits[0].channels))
        damage = [self._read(domain, span, pixels, own) for domain, own in enumerate(slots)]
        sentences = [part.sentence for parts in damage for part in parts]
        if not sentences:
            yield from self._slabs(span, pixels, [], [])
        elif self.damaged == "stop":
            yield from self._refusals(span, f"{sentences[0]}, or train on without its images by data.damaged=skip")
        else:
            yield from self._mended(span, pixels, slots, damage)

    def _slots(self, span: Span) -> Rows:
        """Where in a span's pixels each image of the stream belongs, by domain: [domains, images].

        The pixels lie in the order of the slabs: rank, batch, domain, image.
        """
        domains, share = len(self.splits), span.batch_size // self.ranks
        slots = np.arange(domains * (span.stop - span.start)).reshape(self.ranks, -1, domains, share)
        return slots.transpose(2, 1, 0, 3).reshape(domains, -1)

    def _read(self, domain: int, span: Span, pixels: Pixels, slots: Rows) -> list[Damage]:
        rows = np.concatenate([self._orders[domain].rows(window.start, window.stop) for window in span.windows])
        return self.splits[domain].read_into(pixels, slots, rows, self.threads)

    def _mended(self, span: Span, pixels: Pixels, slots: Rows, damage: list[list[Damage]]) -> Iterator[pa.Table]:
        """The slabs with other images in the places of damaged ones; refusals where a window has none."""
        skipped: list[int] = []
        for own, parts in zip(slots, damage, strict=True):
            lost = _put_others(pixels, own, parts, span)
            if lost is None:
                yield from self._refusals(span, f"{parts[0].sentence}, and nothing else is left to put in its place")
                return
            skipped += (span.start + lost).tolist()
        yield from self._slabs(span, pixels, skipped, [part.sentence for parts in damage for part in parts])

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


def _put_others(pixels: Pixels, slots: Rows, damage: list[Damage], span: Span) -> Rows | None:
    """Put whole images of a domain in the places of damaged ones, and return the offsets of those in the span, ascending.

    The k-th damaged image of a window, in the order of the stream, becomes the window's k-th whole one, counted round
    and round. None if a window has no whole image. `slots`: where in `pixels` each image of the span is.
    """
    lost = np.zeros(len(slots), bool)
    lost[places(damage)] = True
    for window in span.windows:
        offsets = np.arange(window.start, window.stop) - span.start
        gaps, whole = offsets[lost[offsets]], offsets[~lost[offsets]]
        if len(gaps) and not len(whole):
            return None
        pixels[slots[gaps]] = pixels[slots[np.resize(whole, len(gaps))]]
    return np.flatnonzero(lost)
