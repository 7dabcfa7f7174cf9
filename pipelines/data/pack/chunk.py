"""Loads squares of a source's images on threads, in the order asked; an unusable one is a reason, no error."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.data.pack.order import Order
from pipelines.sources import Source
from pipelines.sources.decoding import ImageRejectedError, Pixels, Square, squared

AHEAD = 32  # images loaded before they are asked for: bounds the memory, hides the latency of a store


@dataclass(frozen=True)
class Loaded:
    """One square of an image: its pixels, or why it has none."""

    pixels: Pixels | None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Intake:
    """How the images of a source are made ready: decoded, squared to `resolution`, and looked at."""

    source: Source
    resolution: int
    square: Square
    windows: int
    min_deviation: float

    def load(self, squares: Order, threads: Executor) -> Iterator[Loaded]:
        """The squares of these numbers, in that order; raises what the reader raises when the source itself fails."""
        pending: deque[Future[Loaded]] = deque()
        keys = self.source.index["key"].take(pa.array(squares // self.windows))
        for key, window in zip(keys, (squares % self.windows).tolist(), strict=True):
            pending.append(threads.submit(self._load, key.as_py(), window))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _load(self, key: Any, window: int) -> Loaded:
        notes: list[str] = []
        try:
            pixels = self.source.pixels(key, notes)
            pixels = squared(pixels, self.resolution, self.square, window, self.windows)
            self._require_content(pixels)
        except ImageRejectedError as error:
            return Loaded(None, reason=str(error))
        return Loaded(pixels, notes=tuple(notes))

    def _require_content(self, pixels: Pixels) -> None:
        """Of each channel by itself: an image of one colour is as constant as a white one."""
        if self.min_deviation and (deviation := pixels.std((0, 1)).max()) < self.min_deviation:
            raise ImageRejectedError(
                f"nearly constant: no channel deviates by more than {deviation:.2g} of 255, below min_deviation="
                f"{self.min_deviation:g}"
            )
