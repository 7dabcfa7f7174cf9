"""Reads a packed dataset: random access by row to one resolution, a check of everything, a description."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines import storage
from pipelines.data.pyramid import (
    MANIFEST,
    REJECTED,
    Manifest,
    Shard,
    column_name,
    from_column,
    resolutions,
)
from pipelines.sources.decoding import Pixels

Rows = NDArray[np.int64]


class Split:
    """The images of one split by global row number, 0 to rows - 1 in manifest order.

    Open files are kept for the life of the object and left behind when it is pickled. Not for use by several
    threads at once.
    """

    def __init__(self, url: str, name: str, manifest: Manifest) -> None:
        self.url = url
        self.name = name
        self._manifest = manifest
        self._shards = manifest.splits[name].shards
        # Which shard and which of its row groups each row group of the split is, and the row it begins at.
        self._groups = [(shard, group) for shard in self._shards for group in range(len(shard.groups))]
        self._starts = np.cumsum([0, *self.group_sizes], dtype=np.int64)
        self._files: dict[str, pq.ParquetFile] = {}

    @property
    def rows(self) -> int:
        """How many images there are."""
        return self._manifest.splits[self.name].rows

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Rows of each row group, over all shards in order; a row group is read whole."""
        return tuple(size for shard in self._shards for size in shard.groups)

    def read(self, resolution: int, rows: Rows) -> Pixels:
        """uint8 [len(rows), R, R, C], in the order of `rows`; reads only the bytes of that resolution.

        Raises ValueError for a resolution or row that is not there, RuntimeError naming the shard, row group
        and column where the stored bytes are damaged.
        """
        known = resolutions(self._manifest.resolution)
        if resolution not in known:
            raise ValueError(f"{self.url} has no resolution {resolution}; it has {', '.join(map(str, known))}")
        channels = self._manifest.channels
        images = np.empty((len(rows), resolution, resolution, channels), np.uint8)
        for places, column, local in self._parts(column_name(resolution), rows):
            images[places] = from_column(column, local, resolution, channels)
        return images

    def labels(self, rows: Rows) -> NDArray[np.int64]:
        """int64 [len(rows)]; -1 where an image has no label."""
        labels = np.empty(len(rows), np.int64)
        for places, column, local in self._parts("label", rows):
            labels[places] = column.to_numpy()[local]
        return labels

    def ids(self, rows: Rows) -> list[str]:
        """What the source called each image."""
        ids = np.empty(len(rows), object)
        for places, column, local in self._parts("id", rows):
            ids[places] = column.take(pa.array(local)).to_pylist()
        return ids.tolist()

    def _parts(self, column: str, rows: Rows) -> Iterator[tuple[Rows, pa.Array, Rows]]:
        """For each row group that holds some of `rows`: their places in `rows`, the column, rows in it."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.rows:
            raise ValueError(f"rows {rows.min()} to {rows.max()} are asked of {self.rows} in {self.url}/{self.name}")
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(groups):
            places = np.flatnonzero(groups == number)
            yield places, self._column(column, *self._groups[number]), rows[places] - self._starts[number]

    def _column(self, column: str, shard: Shard, group: int) -> pa.Array:
        with _reading(self.url, shard, f"row group {group}, column {column}"):
            array = self._file(shard).read_row_group(group, columns=[column])[column].combine_chunks()
            if len(array) != shard.groups[group]:
                raise pa.ArrowInvalid(f"{len(array)} rows instead of {shard.groups[group]}")
        return array

    def _file(self, shard: Shard) -> pq.ParquetFile:
        if shard.path not in self._files:
            self._files[shard.path] = open_shard(self.url, shard)
        return self._files[shard.path]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}


@dataclass(frozen=True)
class Dataset:
    """A packed dataset: its manifest and its splits. Opening reads the manifest only."""

    url: str
    manifest: Manifest
    _splits: dict[str, Split] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def open(url: str) -> "Dataset":
        """Reads and checks the manifest; raises ValueError saying what is missing or wrong."""
        manifest = read_manifest(url)
        if manifest is None:
            raise storage.StorageNotFoundError(_no_manifest_sentence(url))
        splits = {name: Split(url, name, manifest) for name in manifest.splits}
        return Dataset(url, manifest, splits)

    @property
    def identity(self) -> dict[str, str]:
        """What tells this dataset from another packed at the same place: one checksum per split."""
        return {
            name: hashlib.sha256(",".join(shard.sha256 for shard in split.shards).encode()).hexdigest()
            for name, split in self.manifest.splits.items()
        }

    @property
    def resolution(self) -> int:
        """Of the finest column."""
        return self.manifest.resolution

    @property
    def channels(self) -> int:
        """1 or 3."""
        return self.manifest.channels

    @property
    def label_count(self) -> int:
        """0 for a dataset without labels."""
        return self.manifest.labels.count if self.manifest.labels else 0

    def split(self, name: str) -> Split:
        """`train`, or `validation` if images were held out; ValueError lists what there is."""
        if name not in self._splits:
            raise ValueError(
                f"{self.url} has no split {name!r}; it has {', '.join(self._splits)}; "
                "validation images are held out when a dataset is packed"
            )
        return self._splits[name]


def read_manifest(url: str) -> Manifest | None:
    """The manifest of a packed dataset, None if there is none; raises ValueError if it is damaged."""
    where = storage.join(url, MANIFEST)
    if not storage.exists(where):
        return None
    return Manifest.from_json(storage.read_json(where), where)


def _no_manifest_sentence(url: str) -> str:
    names = storage.list_dir(url)
    if "packing.json" in names:
        return f"{url} is not fully packed; run the same `alae pack` again and it goes on where it stopped"
    state = "has no manifest.json" if names else "does not exist"
    return f"{url} is no packed dataset: it {state}; make one with `alae pack SOURCE {url}`"


def open_shard(url: str, shard: Shard) -> pq.ParquetFile:
    """Opens a shard so that checksums are verified on reading; raises RuntimeError naming it if it cannot."""
    fs, path = storage.pyarrow_filesystem(storage.join(url, shard.path))
    with _reading(url, shard, "its footer"):
        return pq.ParquetFile(path, filesystem=fs, page_checksum_verification=True)


@contextmanager
def _reading(url: str, shard: Shard, what: str) -> Iterator[None]:
    """Turns damage and absence into RuntimeErrors; a store that does not answer stays a StorageError."""
    where = storage.join(url, shard.path)
    try:
        with storage.explained(where):
            yield
    except storage.StorageNotFoundError as error:
        raise RuntimeError(f"{error}, but the manifest names it; restore that file or pack again") from error
    except storage.StorageError:
        raise
    except (OSError, pa.ArrowException) as error:
        way_out = "restore that file or pack again"
        raise RuntimeError(f"{where}: {what} cannot be read ({error}); {way_out}") from error


def verify(url: str) -> list[str]:
    """Reads every byte of a dataset and returns what is wrong, one sentence each; empty if all is well."""
    dataset = Dataset.open(url)
    shards = [shard for split in dataset.manifest.splits.values() for shard in split.shards]
    problems = [problem for shard in shards if (problem := _problem(url, shard))]
    lines = _count_rejected(url)
    if lines != dataset.manifest.rejected:
        problems.append(f"{REJECTED} lists {lines} images, the manifest says {dataset.manifest.rejected}")
    return problems


def _problem(url: str, shard: Shard) -> str | None:
    where = storage.join(url, shard.path)
    try:
        size = storage.size(where)
    except storage.StorageNotFoundError:
        return f"{shard.path} is missing"
    if size != shard.bytes:
        return f"{shard.path} has {size:,} bytes, the manifest says {shard.bytes:,}"
    if storage.sha256(where) != shard.sha256:
        return f"{shard.path} has changed since it was packed: its SHA-256 is another than the manifest says"
    stored = open_shard(url, shard).metadata
    groups = tuple(stored.row_group(index).num_rows for index in range(stored.num_row_groups))
    if groups != shard.groups:
        return f"{shard.path} has row groups of {groups} rows, the manifest says {shard.groups}"
    return None


def _count_rejected(url: str) -> int:
    try:
        return len(storage.read_bytes(storage.join(url, REJECTED)).splitlines())
    except storage.StorageNotFoundError:
        return 0


def describe(url: str) -> str:
    """A table for people: images, resolution, labels, and what each column weighs in each split."""
    dataset = Dataset.open(url)
    manifest = dataset.manifest
    facts = {
        "source": manifest.source,
        "images": _counts_line(manifest),
        "resolution": _resolution_line(manifest),
        "labels": _labels_line(manifest),
        "shards": _shards_line(manifest),
    }
    lines = [url, *(f"  {name:<12}{text}" for name, text in facts.items()), ""]
    weights = {name: _column_bytes(url, split.shards) for name, split in manifest.splits.items()}
    lines.append("  " + f"{'column':<12}{'encoding':<10}" + "".join(f"{name:>14}" for name in weights))
    for column in ("id", "label", *manifest.columns):
        sizes = "".join(f"{_human(weights[name][column]):>14}" for name in weights)
        lines.append("  " + f"{column:<12}{manifest.columns.get(column, ''):<10}" + sizes)
    return "\n".join(lines)


def _counts_line(manifest: Manifest) -> str:
    counts = [f"{name} {split.rows:,}" for name, split in manifest.splits.items()]
    return ", ".join([*counts, f"rejected {manifest.rejected:,}"])


def _resolution_line(manifest: Manifest) -> str:
    size, colour = manifest.resolution, "grayscale" if manifest.channels == 1 else "colour"
    return f"{size}x{size} {colour}, square by {manifest.square}, shuffled with seed {manifest.seed}"


def _labels_line(manifest: Manifest) -> str:
    if manifest.labels is None:
        return "none"
    names = ", ".join(manifest.labels.names[:8]) + (", ..." if len(manifest.labels.names) > 8 else "")
    return f"{manifest.labels.count} classes" + (f": {names}" if names else "")


def _shards_line(manifest: Manifest) -> str:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    total = _human(sum(shard.bytes for shard in shards))
    return f"{len(shards):,} of together {total}, in row groups of {manifest.rows_per_group} images"


def _column_bytes(url: str, shards: tuple[Shard, ...]) -> Counter[str]:
    total: Counter[str] = Counter()
    for shard in shards:
        stored = open_shard(url, shard).metadata
        for group in range(stored.num_row_groups):
            for index in range(stored.num_columns):
                chunk = stored.row_group(group).column(index)
                total[chunk.path_in_schema] += chunk.total_compressed_size
    return total


def _human(size: int) -> str:
    power = min(3, max(0, size.bit_length() - 1) // 10)
    return f"{size / 1024**power:,.{1 if power else 0}f} {('B', 'KiB', 'MiB', 'GiB')[power]}"
