"""Images as the values of an LMDB, the form of LSUN: a folder with `data.mdb`, on this machine or copied to it."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.sources.copies import local_folder
from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.listing import MAX_FILE_BYTES, printable
from pipelines.sources.source import Source, make_source

DATA = "data.mdb"
_lock = threading.Lock()
_environments: dict[tuple[int, str], Any] = {}


@dataclass(frozen=True)
class LmdbReader:
    """Reads values of the LMDB in the folder `url`; the keys are those of the LMDB."""

    url: str

    def fetch(self, key: bytes) -> bytes:
        """One value; raises ImageRejectedError if it is missing or longer than MAX_FILE_BYTES."""
        with _environment(self.url).begin(buffers=True) as transaction:
            value = transaction.get(key)
            if value is None:
                raise ImageRejectedError("its key has gone from the LMDB")
            if len(value) > MAX_FILE_BYTES:
                raise ImageRejectedError(f"it has {len(value):,} bytes, more than {MAX_FILE_BYTES:,}")
            return bytes(value)


def open_lmdb(source: str, url: str, channels: int) -> Source:
    """Open all values of an LMDB in the order of their keys; every value must be an encoded image file.

    Raises ValueError if the package lmdb is missing or the LMDB cannot be read.
    """
    entries = list(_entries(url))
    keys = [key for key, _ in entries]
    return make_source(
        source,
        "LMDB",
        channels,
        LmdbReader(url),
        ids=[printable(key.decode("utf-8", "surrogateescape")) for key in keys],
        keys=pa.array(keys, pa.binary()),
        content=[np.array([size for _, size in entries], np.int64).data],
    )


def _entries(url: str) -> Iterator[tuple[bytes, int]]:
    with _environment(url).begin(buffers=True) as transaction:
        for key, value in transaction.cursor():
            yield bytes(key), len(value)


def _environment(url: str) -> Any:
    """The open LMDB. LMDB forbids opening one twice in a process and using one that a parent process opened."""
    try:
        import lmdb
    except ImportError as error:
        raise ValueError(f"source {url} needs the package lmdb: pip install lmdb") from error
    folder = str(local_folder(url))
    with _lock:
        place = (os.getpid(), folder)
        if place not in _environments:
            try:
                _environments[place] = lmdb.open(folder, readonly=True, lock=False, readahead=False)
            except lmdb.Error as error:
                raise ValueError(f"source {url} is not a readable LMDB: {error}") from error
        return _environments[place]
