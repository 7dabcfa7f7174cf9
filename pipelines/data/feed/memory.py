"""Memory that is used again: fresh memory costs more than what is written to it."""

import math
import weakref
from collections.abc import Callable

import numpy as np

from pipelines.sources.decoding import Pixels


class Memory:
    """Room for one array after the other, in the same memory."""

    def __init__(self) -> None:
        self._memory = memoryview(b"")
        self._lent: Callable[[], Pixels | None] = lambda: None

    def room(self, shape: tuple[int, ...]) -> Pixels:
        """An unset uint8 array; where the last one, or a view of it, is still in use, in memory of its own."""
        size = math.prod(shape)
        if self._lent() is not None or len(self._memory) < size:
            self._memory = np.empty(size, np.uint8).data
        # Every view holds on to this array, and only to it.
        lent = np.frombuffer(self._memory, np.uint8, size)
        self._lent = weakref.ref(lent)
        return lent.reshape(shape)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Memory, ()
