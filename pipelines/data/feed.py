"""The worker's side of the data: slabs become batches on the device; the wait is measured, the order is checked."""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core.order import Span

log = logging.getLogger(__name__)


class UnreadableError(RuntimeError):
    """Damaged images are next and `data.damaged` is "stop", or nothing could take their place. Every rank raises it."""


AHEAD_BYTES = 2 * 2**20
"""About what is copied at a time, while the batches before it are trained on; at least one batch."""


@dataclass(frozen=True)
class _Batches:
    """Some batches of a slab, uint8 [batches, images, R, R, C], and the skipped images of each, of all ranks."""

    pixels: Tensor
    skipped: list[int]


class Feed:
    """Yields this rank's share of each batch: uint8 [batch_size / ranks, R, R, C] on `device`, from image `nimg` on.

    A thread fetches the next batches while the last ones are trained on.
    """

    def __init__(
        self,
        slabs: Iterable[pa.Table],
        planned: Iterable[Span],
        *,
        nimg: int,
        rank: int,
        ranks: int,
        channels: int,
        device: torch.device,
    ) -> None:
        self.waited_s = 0.0
        """Seconds that `next` has waited for data."""
        self.skipped = 0
        """Images of the batches so far, of all ranks, that stand in the place of damaged ones."""
        self.damage: list[str] = []
        """A sentence for each row group that was found damaged."""
        self._rank, self._ranks, self._channels = rank, ranks, channels
        self._device = device
        self._fetched = self._cut(self._expected(iter(slabs), planned), nimg)
        self._thread = ThreadPoolExecutor(1, "feed")
        self._coming = self._thread.submit(next, self._fetched)
        self._ready: Iterator[tuple[Tensor, int]] = iter(())

    def start(self) -> float:
        """Wait until the first batch is ready; the seconds it took, which count as no wait."""
        began = time.perf_counter()
        self._coming.exception()
        return time.perf_counter() - began

    def next(self) -> Tensor:
        """The next batch; raises UnreadableError, or RuntimeError if the data ends early or comes in another order."""
        began = time.perf_counter()
        found = next(self._ready, None)
        if found is None:
            batches = self._coming.result()
            self._coming = self._thread.submit(next, self._fetched)
            self._ready = zip(batches.pixels, batches.skipped, strict=True)
            found = next(self._ready)
        pixels, skipped = found
        self.skipped += skipped
        pixels = pixels.to(self._device, non_blocking=True)
        self.waited_s += time.perf_counter() - began
        return pixels

    def _cut(self, slabs: Iterator[tuple[Span, pa.Table]], nimg: int) -> Iterator[_Batches]:
        for span, slab in slabs:
            start, batch = _value(slab, "start"), span.batch_size
            shape = (batch // self._ranks, span.resolution, span.resolution, self._channels)
            pixels = _pixels(slab).reshape(-1, *shape)
            skipped = (np.array(_value(slab, "skipped"), np.int64) - start) // batch
            counts = np.bincount(skipped, minlength=len(pixels)).tolist()
            together = max(1, AHEAD_BYTES // pixels[0].nbytes)
            for first in range((max(nimg, span.start) - start) // batch, len(pixels), together):
                part = slice(first, first + together)
                # Out of the object store, which is read-only; into memory that the device can read by itself.
                copy = torch.empty(pixels[part].shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
                copy.numpy()[...] = pixels[part]
                yield _Batches(copy, counts[part])

    def _expected(self, slabs: Iterator[pa.Table], planned: Iterable[Span]) -> Iterator[tuple[Span, pa.Table]]:
        """The slabs of `planned` in order; earlier ones, already trained on, are passed over."""
        for span in planned:
            slab = self._take(slabs, span)
            while _value(slab, "stop") <= span.start:
                slab = self._take(slabs, span)
            found = tuple(_value(slab, name) for name in ("start", "stop", "rank"))
            # A slab may begin earlier: it was planned when fewer of its batches were done.
            if found[0] > span.start or found[1:] != (span.stop, self._rank):
                raise RuntimeError(
                    f"rank {self._rank} was handed the slab {found} instead of "
                    f"{(span.start, span.stop, self._rank)}: Ray Data changed the order"
                )
            if error := _value(slab, "error"):
                raise UnreadableError(error)
            self._tell(_value(slab, "damage"))
            yield span, slab

    def _take(self, slabs: Iterator[pa.Table], span: Span) -> pa.Table:
        slab = next(slabs, None)
        if slab is None:
            raise RuntimeError(f"the data ended before image {span.start:,} of the run on rank {self._rank}")
        return slab

    def _tell(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if sentence not in self.damage:
                self.damage.append(sentence)
                log.warning("%s; other images are in the places of its images", sentence)


def _value(slab: pa.Table, column: str) -> Any:
    return slab[column][0].as_py()


def _pixels(slab: pa.Table) -> NDArray[np.uint8]:
    """The slab's bytes, still in shared memory."""
    blob = slab["pixels"].chunk(0)
    first, last = np.frombuffer(blob.buffers()[1], np.int64)[blob.offset : blob.offset + 2]
    return np.frombuffer(blob.buffers()[2], np.uint8)[first:last]
