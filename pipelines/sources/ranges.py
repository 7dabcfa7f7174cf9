"""Reads ranges of a local or remote file, and opens such a file as a seekable one for Python's own readers."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from pipelines import storage

BLOCK_BYTES = 8 * 2**20


def read_range(url: str, start: int, stop: int) -> bytes:
    """The bytes [start, stop) of a file, fewer if the file is shorter; a store receives one request."""
    return _ask(url, start, stop) if start < stop else b""


@contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """Open a file for reading and seeking; a store is asked for blocks of 8 MiB.

    Raises StorageNotFoundError "source ... does not exist" if it is missing.
    """
    try:
        length = storage.size(url)
    except storage.StorageNotFoundError as error:
        raise storage.StorageNotFoundError(f"source {error}") from error
    if storage.is_local(url):
        with storage.explained(url), storage.local_path(url).open("rb") as file:
            yield file
    else:
        yield cast(BinaryIO, io.BufferedReader(_Ranges(url, length), BLOCK_BYTES))


@storage.patiently
def _ask(url: str, start: int, stop: int) -> bytes:
    fs, path = storage.open_filesystem(url)
    return fs.cat_file(path, start=start, end=stop)


class _Ranges(io.RawIOBase):
    """A file at a store. Each read is a request of its own, which waits for a store that does not answer."""

    def __init__(self, url: str, length: int) -> None:
        self._url, self._length, self._place = url, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence]
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = read_range(self._url, self._place, min(self._place + len(buffer), self._length))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
