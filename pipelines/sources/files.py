"""Image files in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipelines import storage
from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.listing import Member, image_files
from pipelines.sources.source import Source


@dataclass(frozen=True)
class FolderReader:
    """Reads files below `root`; a key is a path relative to it, as bytes because names need not be UTF-8."""

    root: str

    def fetch(self, key: bytes) -> bytes:
        """The bytes of one file; raises ImageRejectedError if it is missing or, on this machine, unreadable."""
        try:
            return storage.read_bytes(storage.join(self.root, key.decode("utf-8", "surrogateescape")))
        except FileNotFoundError:
            raise ImageRejectedError("the file has gone") from None
        except OSError as error:
            # A local error concerns this file alone; a failing store would reject every file.
            if not storage.is_local(self.root):
                raise
            raise ImageRejectedError(f"the file cannot be read: {error.strerror or 'permission denied'}") from error


def open_folder(source: str, url: str, sizes: Mapping[str, int], channels: int) -> Source:
    """Open all image files below the folder `url`; `sizes` maps the path of each file in it to its size in bytes."""
    members = [Member(path, size, path.encode("utf-8", "surrogateescape")) for path, size in sizes.items()]
    return image_files(source, "folder", channels, members, pa.binary(), FolderReader(url))
