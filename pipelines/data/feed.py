"""The worker's side of the data: slabs become batches on the device; the wait is measured, the order is checked."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import order
from alae_core.schedule import ProgressiveSchedule

Slab = tuple[order.Window, NDArray[np.uint8]]


class Feed:
    """Yields this rank's share of each batch: uint8 [batch_size / ranks, R, R, C] on `device`, from image `nimg` on."""

    def __init__(
        self,
        blocks: Iterable[pa.Table],
        schedule: ProgressiveSchedule,
        windows: Iterable[order.Window],
        *,
        nimg: int,
        rank: int,
        ranks: int,
        channels: int,
        device: torch.device,
    ) -> None:
        self.waited_s = 0.0
        self._schedule = schedule
        self._rank, self._ranks, self._channels = rank, ranks, channels
        self._device = device
        self._batches = self._cut(self._expected(iter(blocks), windows), nimg)

    def next(self) -> Tensor:
        """The next batch; raises RuntimeError when the data ends early or comes in another order."""
        began = time.perf_counter()
        batch = torch.from_numpy(next(self._batches))
        if self._device.type == "cuda":
            batch = batch.pin_memory().to(self._device, non_blocking=True)
        self.waited_s += time.perf_counter() - began
        return batch

    def _cut(self, slabs: Iterator[Slab], nimg: int) -> Iterator[NDArray[np.uint8]]:
        for window, pixels in slabs:
            size = self._schedule.resolutions[window.level]
            batches = pixels.reshape(-1, window.batch_size // self._ranks, size, size, self._channels)
            done = max(0, nimg - window.start) // window.batch_size
            for batch in batches[done:]:
                yield batch.copy()  # out of shared memory, which is read-only

    def _expected(self, blocks: Iterator[pa.Table], windows: Iterable[order.Window]) -> Iterator[Slab]:
        """The slabs of `windows` in order; earlier windows, already trained on, are passed over."""
        for window in windows:
            block = self._take(blocks, window)
            while block["stop"][0].as_py() <= window.start:
                block = self._take(blocks, window)
            found = tuple(block[name][0].as_py() for name in ("start", "stop", "rank"))
            if found != (window.start, window.stop, self._rank):
                raise RuntimeError(
                    f"rank {self._rank} was handed the slab {found} instead of "
                    f"{(window.start, window.stop, self._rank)}: Ray Data changed the order"
                )
            yield window, _pixels(block)

    def _take(self, blocks: Iterator[pa.Table], window: order.Window) -> pa.Table:
        block = next(blocks, None)
        if block is None:
            raise RuntimeError(f"the data ended before image {window.start:,} of the run on rank {self._rank}")
        return block


def _pixels(block: pa.Table) -> NDArray[np.uint8]:
    """The slab's bytes, still in shared memory."""
    blob = block["pixels"].chunk(0)
    first, last = np.frombuffer(blob.buffers()[1], np.int64)[blob.offset : blob.offset + 2]
    return np.frombuffer(blob.buffers()[2], np.uint8)[first:last]
