"""Checks every byte of a packed dataset and names its faults."""

import json
import os
import posixpath
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.data.domains import parts
from pipelines.data.format.pyramid import DUPLICATES, REJECTED, Manifest, Shard
from pipelines.data.format.shards import Dataset

Progress = Callable[[int, int], None]

READERS = min(8, os.cpu_count() or 1)  # shards checked at the same time; a remote one is first copied to this machine


def verify(url: str, progress: Progress | None = None) -> list[str]:
    """Read every byte of a dataset, or of both of its domains, and return one sentence per fault.

    Checked are the presence, size, SHA-256 and rows of every shard and the checksum of every page. A damaged shard is
    read to its end to name each damaged row group and column. `progress(done, total)` is called with numbers of images
    after every shard.
    """
    manifests = {part: Dataset.open(part).manifest for part in parts(url)}
    total = sum(split.rows for manifest in manifests.values() for split in manifest.splits.values())
    done, problems = 0, []
    for part, manifest in manifests.items():
        folder = f"{posixpath.basename(part)}/" if part != url else ""
        for rows, found in _problems(part, manifest):
            problems += [f"{folder}{problem}" for problem in found]
            done += rows
            if rows and progress:
                progress(done, total)
    return problems


def _problems(url: str, manifest: Manifest) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows and faults of each shard, and at the end 0 and the faults of the lists beside the shards."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    with ThreadPoolExecutor(READERS) as threads:
        for shard, found in zip(shards, threads.map(partial(_shard_problems, url), shards), strict=True):
            yield shard.rows, [f"{shard.path} {problem}" for problem in found]
    yield 0, list(_list_problems(url, manifest))


def _shard_problems(url: str, shard: Shard) -> list[str]:
    where = storage.join(url, shard.path)
    try:
        size = storage.size(where)
    except storage.StorageNotFoundError:
        return ["is missing"]
    if size != shard.bytes:
        return [f"has {size:,} bytes, the manifest says {shard.bytes:,}"]
    with _on_this_machine(where) as file:
        same = storage.sha256(str(file)) == shard.sha256
        problems = list(_page_problems(file, shard))
    if same:
        return problems
    places = "; ".join(problems) or "but every row group and column is readable: the difference is outside the images"
    return [f"has changed since it was packed, by its SHA-256: {places}"]


@contextmanager
def _on_this_machine(where: str) -> Iterator[Path]:
    """The path of a local file with the bytes of `where`, so that they are fetched only once."""
    if storage.is_local(where):
        yield storage.local_path(where)
        return
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        storage.download(where, Path(folder) / "shard.parquet")
        yield Path(folder) / "shard.parquet"


def _page_problems(path: Path, shard: Shard) -> Iterator[str]:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        yield f"its footer cannot be read ({_first_line(error)})"
        return
    with file:
        groups = tuple(file.metadata.row_group(index).num_rows for index in range(file.num_row_groups))
        if groups != shard.groups:
            yield f"it has row groups of {groups} rows, the manifest says {shard.groups}"
        for group in range(file.num_row_groups):
            for column in file.schema_arrow.names:
                try:
                    file.read_row_group(group, columns=[column])
                except (OSError, pa.ArrowException) as error:
                    yield f"row group {group}, column {column} cannot be read ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _list_problems(url: str, manifest: Manifest) -> Iterator[str]:
    """Check that the lists beside the shards have as many entries as the manifest says."""
    rejected = _entries(url, REJECTED)
    if rejected is None or len(rejected) != manifest.rejected:
        yield f"{REJECTED} {_held(rejected)}, the manifest says {manifest.rejected:,}"
    duplicates = _entries(url, DUPLICATES)
    kinds = Counter[Any](entry.get("kind") for entry in duplicates or ())
    if duplicates is None or kinds != Counter(manifest.duplicates):
        said = ", ".join(f"{count:,} {kind}" for kind, count in manifest.duplicates.items())
        yield f"{DUPLICATES} {_held(duplicates)}, the manifest says {said}"


def _entries(url: str, name: str) -> list[dict[str, Any]] | None:
    """The entries of a list of JSON lines; None if it is missing or damaged."""
    try:
        return [json.loads(line) for line in storage.read_bytes(storage.join(url, name)).splitlines()]
    except (storage.StorageNotFoundError, json.JSONDecodeError):
        return None


def _held(entries: list[dict[str, Any]] | None) -> str:
    return "is missing or damaged" if entries is None else f"lists {len(entries):,} images"
