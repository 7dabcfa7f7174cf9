"""The worker's end of the data pipeline: turns slabs into batches on the device, checks their order, measures waits."""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import cycle
from queue import Queue
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core.order import Span
from pipelines.data.feed.memory import Memory

log = logging.getLogger(__name__)


class UnreadableError(RuntimeError):
    """The next images are damaged and `data.damaged` is "stop", or no image can replace them. Every rank raises it."""


AHEAD_BYTES = 2 * 2**20
"""Approximate size of one copy, made while the previous batches are trained on; at least one batch is copied."""


Batches = deque[tuple[Tensor, int]]
"""Batches, uint8 [domains, images, R, R, C], each with the number of its skipped images on all ranks together."""


class Feed:
    """Returns this rank's share of each batch from image `nimg` on, uint8 [batch_size / ranks, R, R, C] per domain.

    The tensors are on `device`. A thread fetches the next batches while the previous ones are trained on.
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
        domains: int = 1,
    ) -> None:
        self.waited_s = 0.0
        """Seconds that `next` has spent waiting for data."""
        self.skipped = 0
        """Number of images so far, on all ranks together, that replace damaged ones."""
        self.damage: list[str] = []
        """One sentence per row group found to be damaged."""
        self._rank, self._ranks, self._channels, self._domains = rank, ranks, channels, domains
        self._device = device
        self._moves = device.type != "cpu"  # stored: after a pause this test takes longer than the rest of `next`
        fetched = self._cut(self._expected(iter(slabs), planned), nimg)
        self._coming: Queue[Batches | BaseException] = Queue(1)
        self._ready: Batches = deque()
        # One thread for all copies: submitting each to a pool would cost the training loop more than the copy itself.
        Thread(target=_pass_on, args=(fetched, self._coming), name="feed", daemon=True).start()

    def start(self) -> float:
        """Wait until the first batch is ready and return the seconds, which `waited_s` does not include."""
        began = time.perf_counter()
        first = self._coming.get()
        waited_s = time.perf_counter() - began
        if isinstance(first, BaseException):
            self._coming.put(first)
        else:
            self._ready = first
        return waited_s

    def next(self) -> tuple[Tensor, ...]:
        """The next batch, one tensor uint8 [batch_size / ranks, R, R, C] per domain.

        Raises UnreadableError for damaged images, and RuntimeError if the data ends early or comes in another order.
        """
        began = time.perf_counter()
        if not self._ready:
            coming = self._coming.get()
            if isinstance(coming, BaseException):
                self._coming.put(coming)
                raise coming
            self._ready = coming
        pixels, skipped = self._ready.popleft()
        self.skipped += skipped
        if self._moves:
            pixels = pixels.to(self._device, non_blocking=True)
        self.waited_s += time.perf_counter() - began
        return pixels.unbind()

    def _cut(self, slabs: Iterator[tuple[Span, pa.Table]], nimg: int) -> Iterator[Batches]:
        room = _pinned if self._device.type == "cuda" else _Rooms()
        for span, slab in slabs:
            start, batch = _value(slab, "start"), span.batch_size
            shape = (self._domains, batch // self._ranks, span.resolution, span.resolution, self._channels)
            pixels = _pixels(slab).reshape(-1, *shape)
            skipped = (np.array(_value(slab, "skipped"), np.int64) - start) // batch
            counts = np.bincount(skipped, minlength=len(pixels)).tolist()
            together = max(1, AHEAD_BYTES // pixels[0].nbytes)
            for first in range((max(nimg, span.start) - start) // batch, len(pixels), together):
                part = slice(first, first + together)
                # Copy from the object store, which is read-only, to memory that the device can read directly.
                copy = room(pixels[part].shape)
                copy.numpy()[...] = pixels[part]
                yield deque(zip(copy.unbind(), counts[part], strict=True))

    def _expected(self, slabs: Iterator[pa.Table], planned: Iterable[Span]) -> Iterator[tuple[Span, pa.Table]]:
        """Yield the slabs of `planned` in order, skipping earlier slabs that have been trained on."""
        for span in planned:
            slab = self._take(slabs, span)
            while _value(slab, "stop") <= span.start:
                slab = self._take(slabs, span)
            found = tuple(_value(slab, name) for name in ("start", "stop", "rank"))
            # A slab may begin earlier than its span, if it was planned when fewer of its batches were done.
            if found[0] > span.start or found[1:] != (span.stop, self._rank):
                raise RuntimeError(
                    f"rank {self._rank} received the slab {found} instead of "
                    f"{(span.start, span.stop, self._rank)}: Ray Data changed the order"
                )
            if error := _value(slab, "error"):
                raise UnreadableError(error)
            self._log_damage(_value(slab, "damage"))
            yield span, slab

    def _take(self, slabs: Iterator[pa.Table], span: Span) -> pa.Table:
        slab = next(slabs, None)
        if slab is None:
            raise RuntimeError(f"the data ended before image {span.start:,} of the run on rank {self._rank}")
        return slab

    def _log_damage(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if sentence not in self.damage:
                self.damage.append(sentence)
                log.warning("%s; other images replace its images", sentence)


def _pass_on(fetched: Iterator[Batches], coming: "Queue[Batches | BaseException]") -> None:
    """Move batches to the queue, in the feed's thread; the last item is the error that ended it."""
    try:
        for batches in fetched:
            coming.put(batches)
        raise RuntimeError("the data of the run has ended")
    except BaseException as error:
        coming.put(error)


def _pinned(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8, pin_memory=True)


class _Rooms:
    """Reused memory for the batches in use, the next batches, and those that are being copied."""

    def __init__(self) -> None:
        self._memories = cycle([Memory() for _ in range(4)])

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(next(self._memories).room(shape))


def _value(slab: pa.Table, column: str) -> Any:
    return slab[column][0].as_py()


def _pixels(slab: pa.Table) -> NDArray[np.uint8]:
    """The bytes of a slab, as a view of shared memory."""
    blob = slab["pixels"].chunk(0)
    first, last = np.frombuffer(blob.buffers()[1], np.int64)[blob.offset : blob.offset + 2]
    return np.frombuffer(blob.buffers()[2], np.uint8)[first:last]
