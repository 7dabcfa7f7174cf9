"""The order in which images are seen: a pure function of (seed, position in the stream).

The stream repeats the dataset for ever; position p lies in epoch p // N. An epoch visits the row groups of the dataset in
a seeded order, and the images within a window of the stream are shuffled again. Every image comes once per epoch, for
any number of workers and across changes of level, and a resume needs nothing but nimg. (Images were already shuffled
once when the dataset was packed.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from alae_core.random import named_seed
from alae_core.schedule import ProgressiveSchedule

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Stream positions [start, stop) of one level, a whole number of batches, shuffled among themselves."""

    level: int
    start: int
    stop: int
    batch_size: int


def windows(schedule: ProgressiveSchedule, window_images: int, nimg: int = 0) -> Iterator[Window]:
    """The windows of a run from image `nimg` on; the first may start before `nimg` (its batches up to there are done)."""
    for segment in schedule.segments:
        if segment.stop <= nimg:
            continue
        size = max(1, window_images // segment.batch_size) * segment.batch_size
        first = max(0, nimg - segment.start) // size * size + segment.start
        for start in range(first, segment.stop, size):
            yield Window(
                level=segment.level,
                start=start,
                stop=min(start + size, segment.stop),
                batch_size=segment.batch_size,
            )


class StreamOrder:
    """Which dataset rows the stream's positions hold."""

    def __init__(self, group_sizes: Sequence[int], seed: int) -> None:
        """`group_sizes`: images in each row group of the dataset, in storage order."""
        self.num_images = int(sum(group_sizes))
        if self.num_images == 0:
            raise ValueError("the dataset holds no images")
        self.seed = seed
        self._sizes = np.asarray(group_sizes, np.int64)
        self._first_row = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._epoch = lru_cache(maxsize=2)(self._epoch_groups)

    def __reduce__(self) -> tuple[type, tuple[tuple[int, ...], int]]:
        return StreamOrder, (tuple(self._sizes.tolist()), self.seed)

    def rows(self, start: int, stop: int) -> Rows:
        """The dataset rows at positions [start, stop), shuffled within that window, an epoch's part at a time."""
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self.num_images)
            end = min(stop, (epoch + 1) * self.num_images)
            rows = self._slice(epoch, offset, offset + end - start)
            parts.append(_rng(self.seed, "window", start, end).permutation(rows))
            start = end
        return np.concatenate(parts)

    def _slice(self, epoch: int, begin: int, end: int) -> Rows:
        """Rows at offsets [begin, end) of an epoch, group after group."""
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
        groups = _rng(self.seed, "epoch", epoch).permutation(len(self._sizes))
        return groups, np.cumsum(self._sizes[groups])


def _rng(*parts: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(named_seed(*parts)))
