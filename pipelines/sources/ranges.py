"""Bytes of a file wherever it is: a range by one request, or a file that Python's own readers can seek in."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from pipelines import storage

BLOCK_BYTES = 8 * 2**20


def read_range(url: str, start: int, stop: int) -> bytes:
    """The bytes from `start` to before `stop`, fewer where the file is shorter; one request at a store."""
    return _ask(url, start, stop) if start < stop else b""


@contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """A seekable file, which asks a store for blocks of 8 MiB; a missing one raises "source ... does not exist"."""
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
    """A file at a store; each read is a request of its own, which a silent store does not end."""

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
