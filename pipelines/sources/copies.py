"""Local copies of sources that cannot be read in parts from a store: an LMDB, or a compressed tar.

Each process that reads such a source makes its own copy in the temporary folder and removes it when it ends.
"""

import gzip
import shutil
import tempfile
import threading
from pathlib import Path

from pipelines import storage
from pipelines.sources.ranges import opened

_lock = threading.Lock()
_folders: dict[str, tempfile.TemporaryDirectory[str]] = {}


def local_folder(url: str) -> Path:
    """The folder `url` itself if it is on this machine, otherwise a local copy of its files."""
    if storage.is_local(url):
        return storage.local_path(url)
    with _lock:
        if url not in _folders:
            folder = tempfile.TemporaryDirectory(prefix="source-")
            for path in storage.list_files(url):
                target = Path(folder.name) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                storage.download(storage.join(url, path), target)
            _folders[url] = folder
    return Path(_folders[url].name)


def decompressed(url: str) -> str:
    """The path of a local file with the decompressed content of the gzip file `url`.

    Raises OSError, EOFError or zlib.error if the gzip file is damaged.
    """
    with _lock:
        if url not in _folders:
            folder = tempfile.TemporaryDirectory(prefix="source-")
            with opened(url) as packed, gzip.open(packed) as file, (Path(folder.name) / "file").open("wb") as target:
                shutil.copyfileobj(file, target, 2**20)
            _folders[url] = folder
    return str(Path(_folders[url].name) / "file")
