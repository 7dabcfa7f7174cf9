"""Loads squares of a source's images on threads in a given order; an unusable image gives a reason, not an error."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.data.pack.order import Order
from pipelines.sources import Source
from pipelines.sources.decoding import ImageRejectedError, Pixels, Square, squared

AHEAD = 32  # images loaded in advance: enough to hide the latency of a store, few enough for the memory


@dataclass(frozen=True)
class Loaded:
    """One square of an image: its pixels uint8 [R, R, C], or None and the reason."""

    pixels: Pixels | None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Intake:
    """Loads images of a source: decodes them, makes them square at `resolution`, and rejects nearly constant ones."""

    source: Source
    resolution: int
    square: Square
    windows: int
    min_deviation: float

    def load(self, squares: Order, threads: Executor) -> Iterator[Loaded]:
        """Yield the squares numbered `squares` in this order; raises the reader's error if the source itself fails."""
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
        """Reject a nearly constant image; each channel counts by itself, so that a coloured constant is one too."""
        if self.min_deviation and (deviation := pixels.std((0, 1)).max()) < self.min_deviation:
            raise ImageRejectedError(
                f"nearly constant: no channel deviates by more than {deviation:.2g} of 255, below min_deviation="
                f"{self.min_deviation:g}"
            )
