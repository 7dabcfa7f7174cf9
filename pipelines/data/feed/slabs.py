"""Reads the images of one span of the stream and cuts them into one slab per rank; this is the work of a read task.

A slab is one row of a table. Its bytes are the rank's share of every batch of the span, in the order batch, domain,
image. Nothing here imports torch, so that the processes of the tasks start quickly and stay small.
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
        ("skipped", pa.list_(pa.int64())),  # positions in the stream where another image of the window replaces its own
        ("damage", pa.list_(pa.string())),  # one sentence per damaged row group
        ("error", pa.string()),  # reason for which there are no pixels; otherwise null
    ]
)


@dataclass(frozen=True)
class SlabReader:
    """Reads spans of the stream for a number of ranks."""

    splits: tuple[Split, ...]
    """One split per domain, all with the same number of channels."""
    seed: int
    ranks: int
    damaged: Damaged = "stop"
    """For damaged images: "stop" makes slabs with the reason instead of pixels, "skip" replaces them by others."""
    threads: int = 1
    """Number of threads that decode at the same time."""

    @cached_property
    def _memory(self) -> Memory:
        return Memory()

    @cached_property
    def _orders(self) -> tuple[StreamOrder, ...]:
        return tuple(StreamOrder(split.group_sizes, self.seed, domain) for domain, split in enumerate(self.splits))

    def read(self, span: Span) -> Iterator[pa.Table]:
        """Yield the slabs of a span, rank after rank, each a table of one row with the columns of SLAB."""
        slots = self._slots(span)
        pixels = self._memory.room((slots.size, span.resolution, span.resolution, self.splits[0].channels))
        damage = [self._read(domain, span, pixels, own) for domain, own in enumerate(slots)]
        sentences = [part.sentence for parts in damage for part in parts]
        if not sentences:
            yield from self._slabs(span, pixels, [], [])
        elif self.damaged == "stop":
            yield from self._refusals(span, f"{sentences[0]}, or continue without its images by data.damaged=skip")
        else:
            yield from self._mended(span, pixels, slots, damage)

    def _slots(self, span: Span) -> Rows:
        """The place in a span's pixels of each image of the stream, int64 [domains, images].

        The pixels are in the order of the slabs: rank, batch, domain, image.
        """
        domains, share = len(self.splits), span.batch_size // self.ranks
        slots = np.arange(domains * (span.stop - span.start)).reshape(self.ranks, -1, domains, share)
        return slots.transpose(2, 1, 0, 3).reshape(domains, -1)

    def _read(self, domain: int, span: Span, pixels: Pixels, slots: Rows) -> list[Damage]:
        rows = np.concatenate([self._orders[domain].rows(window.start, window.stop) for window in span.windows])
        return self.splits[domain].read_into(pixels, slots, rows, self.threads)

    def _mended(self, span: Span, pixels: Pixels, slots: Rows, damage: list[list[Damage]]) -> Iterator[pa.Table]:
        """Yield slabs in which other images replace damaged ones; refusals if a window has no undamaged image."""
        skipped: list[int] = []
        for own, parts in zip(slots, damage, strict=True):
            lost = _put_others(pixels, own, parts, span)
            if lost is None:
                yield from self._refusals(span, f"{parts[0].sentence}, and there is no undamaged image to replace it")
                return
            skipped += (span.start + lost).tolist()
        yield from self._slabs(span, pixels, skipped, [part.sentence for parts in damage for part in parts])

    def _slabs(self, span: Span, pixels: Pixels, skipped: list[int], sentences: list[str]) -> Iterator[pa.Table]:
        for rank, part in enumerate(np.split(pixels, self.ranks)):
            ends = pa.py_buffer(np.array([0, part.size], np.int64))
            # The array's own memory is used, so that the bytes are copied only once, to the object store.
            blob = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(part)])
            yield _row(span, rank, blob, skipped, sentences, None)

    def _refusals(self, span: Span, reason: str) -> Iterator[pa.Table]:
        for rank in range(self.ranks):
            yield _row(span, rank, pa.array([b""], pa.large_binary()), [], [], reason)


def _row(span: Span, rank: int, pixels: pa.Array, skipped: list[int], damage: list[str], error: str | None) -> pa.Table:
    columns = [[span.start], [span.stop], [rank], pixels, [skipped], [damage], [error]]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SLAB, strict=True)], SLAB)


def _put_others(pixels: Pixels, slots: Rows, damage: list[Damage], span: Span) -> Rows | None:
    """Replace damaged images of a domain by undamaged ones; return the offsets of the damaged in the span, ascending.

    The k-th damaged image of a window, in the order of the stream, becomes the window's k-th undamaged image, modulo
    their number. Returns None if a window has no undamaged image. `slots` gives the place in `pixels` of each image of
    the span.
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
