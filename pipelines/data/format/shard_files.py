"""The Parquet files of a dataset, opened once, read by several threads, with errors that name the damaged part."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.data.format.codec import Stored, values
from pipelines.data.format.pages import binary_values, fixed_values, is_plain
from pipelines.data.format.pyramid import Shard

OPEN_FILES = 256  # maximum number of files kept open by a process


class DamagedError(RuntimeError):
    """Stored bytes that are missing or differ from the packed ones; the message names them."""


class ShardFiles:
    """Reads columns of row groups; safe for several threads. A pickled copy has no open files."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._place: tuple[pyarrow.fs.FileSystem, str] | None = None  # shared, so that all files share connections
        self._open: dict[str, tuple[pa.NativeFile, pq.FileMetaData]] = {}

    def open(self, shard: Shard) -> tuple[pa.NativeFile, pq.FileMetaData]:
        """The open file and the footer of a shard, read if it is not open yet; raises DamagedError."""
        if (known := self._open.get(shard.path)) is not None:
            return known
        with reading(self._url, shard, "its footer"):
            if self._place is None:
                self._place = storage.pyarrow_filesystem(self._url)
            filesystem, root = self._place
            source = filesystem.open_input_file(f"{root}/{shard.path}")
            found = source, pq.read_metadata(source)
        while len(self._open) >= OPEN_FILES:
            self._open.pop(next(iter(self._open)), None)
        self._open[shard.path] = found
        return found

    def images(self, shard: Shard, group: int, name: str, size: int | None) -> Stored:
        """The stored images of one row group, with verified checksums; raises DamagedError.

        `size` is the number of bytes of each image if all have the same size, otherwise None.
        """
        source, metadata = self.open(shard)
        with reading(self._url, shard, f"row group {group}, column {name}"):
            place = metadata.schema.names.index(name)
            chunk = metadata.row_group(group).column(place)
            if not is_plain(chunk, metadata.schema.column(place)):
                return values(self.column(shard, group, name))
            data = source.read_at(chunk.total_compressed_size, chunk.data_page_offset)
            found = binary_values(data) if size is None else fixed_values(data, size)
            _require(len(found), shard, group)
        return found

    def column(self, shard: Shard, group: int, name: str) -> pa.Array:
        """One column of one row group, with verified checksums; raises DamagedError."""
        source, metadata = self.open(shard)
        with reading(self._url, shard, f"row group {group}, column {name}"):
            # A new reader for each call: several threads may read from one file, but not through one reader.
            reader = pq.ParquetFile(source, metadata=metadata, page_checksum_verification=True, pre_buffer=False)
            chunks = reader.read_row_group(group, columns=[name], use_threads=False)[name].chunks
            array = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
            _require(len(array), shard, group)
        return array

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_place": None, "_open": {}}


def _require(rows: int, shard: Shard, group: int) -> None:
    if rows != shard.groups[group]:
        raise pa.ArrowInvalid(f"{rows} rows instead of {shard.groups[group]}")


def open_shard(url: str, shard: Shard) -> pq.ParquetFile:
    """Open a shard so that reading verifies checksums; raises DamagedError naming the shard if that fails."""
    with reading(url, shard, "its footer"):
        filesystem, path = storage.pyarrow_filesystem(storage.join(url, shard.path))
        return pq.ParquetFile(filesystem.open_input_file(path), page_checksum_verification=True)


@contextmanager
def reading(url: str, shard: Shard, what: str) -> Iterator[None]:
    """Turn errors about damage or absence into DamagedError; a store that does not answer stays a StorageError."""
    where = storage.join(url, shard.path)
    try:
        with storage.explained(where):
            yield
    except storage.StorageNotFoundError as error:
        raise DamagedError(f"{error}, but the manifest names it; restore that file or pack again") from error
    except storage.StorageError:
        raise
    except (OSError, LookupError, ValueError, pa.ArrowException) as error:
        raise DamagedError(f"{where}: {what} cannot be read ({error}); restore that file or pack again") from error
