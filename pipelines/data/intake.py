"""Loads images of a source on threads and gives them in the order asked; an unusable one is a reason, no error."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.data.packing_order import Order
from pipelines.sources import Source
from pipelines.sources.decoding import ImageRejectedError, Pixels, Square, decode, squared

AHEAD = 32  # images loaded before they are asked for: bounds the memory, hides the latency of a store


@dataclass(frozen=True)
class Loaded:
    """One image of a source: its pixels, or why it has none."""

    pixels: Pixels | None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Intake:
    """How the images of a source are made ready: decoded, and squared to `resolution`."""

    source: Source
    resolution: int
    square: Square

    def load(self, rows: Order, threads: Executor) -> Iterator[Loaded]:
        """The images number `rows`, in that order; raises what the reader raises when the source itself fails."""
        pending: deque[Future[Loaded]] = deque()
        for key in self.source.index["key"].take(pa.array(rows)):
            pending.append(threads.submit(self._load, key.as_py()))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _load(self, key: Any) -> Loaded:
        notes: list[str] = []
        try:
            pixels = decode(self.source.reader.fetch(key), self.source.channels, notes)
            return Loaded(squared(pixels, self.resolution, self.square), notes=tuple(notes))
        except ImageRejectedError as error:
            return Loaded(None, reason=str(error))
