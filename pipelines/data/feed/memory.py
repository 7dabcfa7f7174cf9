"""Reused memory: allocating new memory costs more than writing to it."""

import math
import weakref
from collections.abc import Callable

import numpy as np

from pipelines.sources.decoding import Pixels


class Memory:
    """Allocates one array after the other in the same memory."""

    def __init__(self) -> None:
        self._memory = memoryview(b"")
        self._lent: Callable[[], Pixels | None] = lambda: None

    def room(self, shape: tuple[int, ...]) -> Pixels:
        """An uninitialised uint8 array of `shape`; it gets new memory if the last array, or a view of it, is in use."""
        size = math.prod(shape)
        if self._lent() is not None or len(self._memory) < size:
            self._memory = np.empty(size, np.uint8).data
        # Every view keeps a reference to this array and to nothing else.
        lent = np.frombuffer(self._memory, np.uint8, size)
        self._lent = weakref.ref(lent)
        return lent.reshape(shape)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Memory, ()
