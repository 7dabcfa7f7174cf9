"""Order in which training reads images: a pure function of (seed, position in the stream).

The stream repeats a dataset of N images forever; position p lies in epoch p // N. An epoch visits the dataset's row groups
in a seeded order, and the images within a window of the stream are shuffled again. Each image occurs once per epoch, for
any number of workers and across changes of level, and a resume needs only nimg. (Packing has already shuffled the images
once.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alae_core.schedule import ProgressiveSchedule
from alae_core.seeds import named_seed

Rows = NDArray[np.int64]

WINDOW_BYTES = 256 * 2**20
"""Upper bound of a window's pixels, in bytes, unless one batch is larger."""
SPAN_BYTES, SPAN_IMAGES = 128 * 2**20, 2**16
"""Upper bounds of a span's pixels and images, unless one window is larger; they do not affect the order."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Stream positions [start, stop) of one level that are shuffled together; a multiple of the batch size."""

    level: int
    start: int
    stop: int
    batch_size: int


@dataclass(frozen=True, kw_only=True)
class Span:
    """Consecutive windows of one level that are read together: stream positions [start, stop)."""

    level: int
    resolution: int
    start: int
    stop: int
    batch_size: int
    window_images: int
    """Images in each window; the last one may have fewer."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows in order."""
        ends = [*range(self.start, self.stop, self.window_images), self.stop]
        return tuple(
            Window(level=self.level, start=start, stop=stop, batch_size=self.batch_size)
            for start, stop in pairwise(ends)
        )


def sizes(resolution: int, batch_size: int, window_images: int, channels: int) -> tuple[int, int]:
    """Images in a window and in a span of one level."""
    image_bytes = resolution * resolution * channels
    window = max(1, min(window_images, WINDOW_BYTES // image_bytes) // batch_size) * batch_size
    return window, max(1, min(SPAN_IMAGES, SPAN_BYTES // image_bytes) // window) * window


def spans(schedule: ProgressiveSchedule, window_images: int, channels: int, nimg: int = 0) -> Iterator[Span]:
    """Spans of a run from image `nimg` on, made of the windows of `windows`.

    Their ends depend on the schedule only; the first span starts with the window that contains `nimg`.
    """
    for segment in schedule.segments:
        if segment.stop <= nimg:
            continue
        resolution, batch = schedule.resolutions[segment.level], segment.batch_size
        size, length = sizes(resolution, batch, window_images, channels)
        start = segment.start + max(0, nimg - segment.start) // size * size
        while start < segment.stop:
            stop = segment.start + ((start - segment.start) // length + 1) * length
            stop = min(stop, segment.stop)
            yield Span(
                level=segment.level,
                resolution=resolution,
                start=start,
                stop=stop,
                batch_size=batch,
                window_images=size,
            )
            start = stop


def windows(schedule: ProgressiveSchedule, window_images: int, channels: int, nimg: int = 0) -> Iterator[Window]:
    """Windows of a run from image `nimg` on; the first may start before `nimg`, whose earlier batches are done.

    A window has about `window_images` images, at most WINDOW_BYTES of pixels, and at least one batch; it is a multiple of
    the batch size.
    """
    for span in spans(schedule, window_images, channels, nimg):
        yield from span.windows


class StreamOrder:
    """Map from positions in the stream to rows of one dataset."""

    def __init__(self, group_sizes: Sequence[int], seed: int, domain: int = 0) -> None:
        """Order of a dataset whose row groups hold `group_sizes` images, in storage order.

        Two domains have different orders, so their images are not paired. Raises ValueError for an empty dataset.
        """
        self.num_images = int(sum(group_sizes))
        if self.num_images == 0:
            raise ValueError("the dataset holds no images")
        self.seed, self.domain = seed, domain
        self._sizes = np.asarray(group_sizes, np.int64)
        self._first_row = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._epoch = lru_cache(maxsize=2)(self._epoch_groups)

    def __reduce__(self) -> tuple[type, tuple[tuple[int, ...], int, int]]:
        return StreamOrder, (tuple(self._sizes.tolist()), self.seed, self.domain)

    def rows(self, start: int, stop: int) -> Rows:
        """Dataset rows at positions [start, stop), shuffled within this window; parts of two epochs are not mixed."""
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self.num_images)
            end = min(stop, (epoch + 1) * self.num_images)
            rows = self._slice(epoch, offset, offset + end - start)
            parts.append(self._rng("window", start, end).permutation(rows))
            start = end
        return np.concatenate(parts)

    def _slice(self, epoch: int, begin: int, end: int) -> Rows:
        """Dataset rows at offsets [begin, end) of an epoch, in the order of its row groups."""
        groups, ends = self._epoch(epoch)
        found = []
        for k in range(int(np.searchsorted(ends, begin, side="right")), len(groups)):
            group, group_end = groups[k], int(ends[k])
            group_begin = group_end - int(self._sizes[group])
            if group_begin >= end:
                break
            base = int(self._first_row[group]) - group_begin
            found.append(np.arange(max(begin, group_begin) + base, min(end, group_end) + base))
        return np.concatenate(found)

    def _epoch_groups(self, epoch: int) -> tuple[Rows, Rows]:
        groups = self._rng("epoch", epoch).permutation(len(self._sizes))
        return groups, np.cumsum(self._sizes[groups])

    def _rng(self, *parts: int | str) -> np.random.Generator:
        domain = ("domain", self.domain) if self.domain else ()
        return np.random.Generator(np.random.PCG64(named_seed(self.seed, *domain, *parts)))
