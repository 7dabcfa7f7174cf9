"""Loads the images of a source on threads, gives them in order and sets the unusable ones aside."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

from pipelines.sources.decoding import ImageRejectedError, Pixels
from pipelines.sources.source import Item, Source

THREADS = min(16, os.cpu_count() or 1)
AHEAD_PER_THREAD = 4  # images loaded before they are asked for; bounds the memory


class Accepted(NamedTuple):
    """One image that goes into the dataset."""

    name: str
    label: int
    pixels: Pixels


class Intake:
    """The images of `source` at the indices `order[position:]`, as `prepare` makes them.

    `rejected` is appended to: (name, reason) of each image whose loading or preparing raises
    ImageRejectedError.
    """

    def __init__(
        self,
        source: Source,
        order: Sequence[int],
        position: int,
        prepare: Callable[[Pixels], Pixels],
        rejected: list[tuple[str, str]],
    ) -> None:
        self.position = position
        self._source = source
        self._order = order
        self._prepare = prepare
        self._rejected = rejected
        self._asked = position
        self._pending: deque[tuple[Item, Future[Pixels]]] = deque()
        self._threads = ThreadPoolExecutor(THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def exhausted(self) -> bool:
        """Whether every image was given or set aside."""
        return self.position >= len(self._order)

    def take(self, count: int) -> list[Accepted]:
        """The next `count` usable images, fewer only at the end."""
        taken: list[Accepted] = []
        while len(taken) < count and not self.exhausted:
            item, pixels = self._next()
            self.position += 1
            try:
                taken.append(Accepted(item.name, item.label, pixels.result()))
            except ImageRejectedError as error:
                self._rejected.append((item.name, str(error)))
        return taken

    def _next(self) -> tuple[Item, Future[Pixels]]:
        while self._asked < len(self._order) and len(self._pending) < THREADS * AHEAD_PER_THREAD:
            item = self._source[self._order[self._asked]]
            self._pending.append((item, self._threads.submit(self._load, item)))
            self._asked += 1
        return self._pending.popleft()

    def _load(self, item: Item) -> Pixels:
        return self._prepare(item.load())
