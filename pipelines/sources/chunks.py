"""Chunks: groups of neighbouring images in a file that are read by one request."""

import math
import threading
from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.ranges import BLOCK_BYTES, read_range
from pipelines.sources.source import CHUNKS_AT_ONCE, Source

T = TypeVar("T")
SPARE = 4  # extra chunks in the cache, for threads that lag behind or run ahead of the others


class Kept(Generic[T]):
    """A cache of the most recently used chunks. Threads that ask for the same chunk share one load.

    A pickled copy starts empty.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: OrderedDict[int, Future[T]] = OrderedDict()

    def get(self, number: int, load: Callable[[], T]) -> T:
        """Chunk `number`, loaded if it is not in the cache.

        Raises the error of `load`. An ImageRejectedError stays in the cache; after any other error the next call loads
        again.
        """
        with self._lock:
            chunk = self._chunks.get(number)
            ours = chunk is None
            if chunk is None:
                chunk = self._chunks[number] = Future()
            self._chunks.move_to_end(number)
            if len(self._chunks) > CHUNKS_AT_ONCE + SPARE:
                self._chunks.popitem(last=False)
        if ours:
            self._load(number, chunk, load)
        return chunk.result()

    def _load(self, number: int, chunk: Future[T], load: Callable[[], T]) -> None:
        try:
            chunk.set_result(load())
        except BaseException as error:
            if not isinstance(error, ImageRejectedError):
                with self._lock:
                    self._chunks.pop(number, None)
            chunk.set_exception(error)

    def __reduce__(self) -> tuple[type["Kept[T]"], tuple[()]]:
        return Kept, ()


class Span(NamedTuple):
    """The bytes [start, stop) of file number `file`."""

    file: int
    start: int
    stop: int


SPAN = pa.struct({name: pa.int64() for name in Span._fields})


@dataclass(frozen=True)
class SpanReader:
    """Reads images that are spans of files; a key holds the fields of a Span.

    If `chunks`, in ascending order, are given, all images of a chunk are read by one request.
    """

    urls: tuple[str, ...]
    unpack: Callable[[bytes], Any] = bytes
    where: Callable[[str], str] = str  # maps a URL to the file that holds its bytes, such as a decompressed copy
    chunks: tuple[Span, ...] = ()
    _kept: Kept[bytes] = field(default_factory=Kept, compare=False, repr=False)

    def fetch(self, key: dict[str, int]) -> Any:
        """The image's bytes after `unpack`; raises ImageRejectedError if the file ends before them."""
        image = Span(**key)
        number = bisect(self.chunks, (image.file, image.start, math.inf)) - 1
        chunk = self.chunks[number] if self.chunks else image
        block = self._kept.get(number, lambda: self._read(chunk)) if self.chunks else self._read(image)
        if chunk.start + len(block) < image.stop:
            raise ImageRejectedError("the file ends before it")
        return self.unpack(block[image.start - chunk.start : image.stop - chunk.start])

    def _read(self, span: Span) -> bytes:
        return read_range(self.where(self.urls[span.file]), span.start, span.stop)


def chunked(source: Source, reader: SpanReader) -> Source:
    """`source` with a reader that reads neighbours within 8 MiB as one chunk.

    The images of `source` must be in the order of the files.
    """
    numbers = np.zeros(len(source), np.int64)
    chunks: list[Span] = []
    columns = source.index["key"].combine_chunks().flatten()
    for row, image in enumerate(map(Span, *(column.to_pylist() for column in columns))):
        last = chunks[-1] if chunks else None
        if last and last.file == image.file and image.stop - last.start <= BLOCK_BYTES:
            chunks[-1] = last._replace(stop=image.stop)
        else:
            chunks.append(image)
        numbers[row] = len(chunks) - 1
    return replace(source, reader=replace(reader, chunks=tuple(chunks)), chunks=numbers)
