"""Random access by row to one resolution of a packed dataset."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import storage
from pipelines.data.format.codec import DamagedImageError, Stored, decode_into
from pipelines.data.format.pyramid import ATTRIBUTE, MANIFEST, Manifest, Shard, column_name, resolutions
from pipelines.data.format.shard_files import DamagedError, ShardFiles
from pipelines.data.format.shard_files import open_shard as open_shard
from pipelines.sources.decoding import Pixels

Rows = NDArray[np.int64]
Done = TypeVar("Done")
Damaged = Literal["stop", "skip"]
"""Whether a read of damaged images raises ("stop") or puts other images in their place ("skip")."""

FETCHES = 8
"""Number of row groups fetched at the same time from a remote store."""


@dataclass(frozen=True)
class Damage:
    """A row group that cannot be read: the reason as a sentence, and the places of its images among those requested."""

    sentence: str
    places: Rows


@dataclass(frozen=True)
class _Part:
    """The requested `rows` of row group number `group` of the split, and their `places` in the result."""

    group: int
    places: Rows
    rows: Rows


class Split:
    """The images of one split by global row number, 0 to rows - 1 in manifest order.

    Files stay open as long as the object lives; a pickled copy has none.
    """

    def __init__(self, url: str, name: str, manifest: Manifest, damaged: Damaged = "stop") -> None:
        self.url = url
        self.name = name
        self.damaged = damaged
        self.replaced: set[int] = set()
        """Damaged rows that `read` has replaced by other images."""
        self._manifest = manifest
        self._shards = manifest.splits[name].shards
        # The shard of each row group of the split, its number in that shard, and its first row in the split.
        self._groups = [(shard, group) for shard in self._shards for group in range(len(shard.groups))]
        self._starts = np.cumsum([0, *self.group_sizes], dtype=np.int64)
        self._files = ShardFiles(url)

    @property
    def rows(self) -> int:
        """The number of images."""
        return self._manifest.splits[self.name].rows

    @property
    def channels(self) -> int:
        """The number of channels of the images, 1 or 3."""
        return self._manifest.channels

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """The number of rows of each row group, over all shards in order; a row group is always read completely."""
        return tuple(size for shard in self._shards for size in shard.groups)

    def read(self, resolution: int, rows: Rows) -> Pixels:
        """Read images uint8 [len(rows), R, R, C] in the order of `rows`; reads only the bytes of that resolution.

        Raises ValueError for a resolution or row that does not exist, and DamagedError naming the shard, row group and
        column if stored bytes are damaged. If the dataset was opened with "skip", damaged images are replaced by images
        of the next undamaged row groups instead.
        """
        images, damage = self.read_sound(resolution, rows)
        if damage and self.damaged == "skip":
            lost = places(damage)
            images[lost] = self._others(resolution, np.asarray(rows)[lost], damage)
        elif damage:
            raise DamagedError(damage[0].sentence)
        return images

    def _others(self, resolution: int, rows: Rows, damage: list[Damage]) -> Pixels:
        """The replacements of damaged `rows`; raises DamagedError if there is no undamaged row group."""
        images = np.empty((len(rows), resolution, resolution, self.channels), np.uint8)
        left = np.arange(len(rows))
        for step in range(1, len(self._groups)):
            found, further = self.read_sound(resolution, (rows[left] + step * max(self.group_sizes)) % self.rows)
            images[left] = found
            if not further:
                self.replaced.update(rows.tolist())
                return images
            left = left[places(further)]
        raise DamagedError(f"{damage[0].sentence}, and there is no undamaged image to replace it")

    def read_sound(self, resolution: int, rows: Rows) -> tuple[Pixels, list[Damage]]:
        """As `read`, but damaged images are left unset and listed in the second result, one entry per row group."""
        self._require(resolution)
        images = np.empty((len(rows), resolution, resolution, self.channels), np.uint8)
        return images, self.read_into(images, np.arange(len(rows)), rows)

    def read_into(self, images: Pixels, slots: Rows, rows: Rows, threads: int = 1) -> list[Damage]:
        """Set `images[slots[k]]` to the image of `rows[k]` for every k; damaged images are left unset and returned.

        `images` is uint8 [N, R, R, C], contiguous; R is the resolution that is read. `threads` is the number of threads
        that decode at the same time. Raises ValueError for a resolution or row that does not exist.
        """
        resolution = images.shape[1]
        self._require(resolution)
        column = column_name(resolution)
        decoding = BoundedSemaphore(threads)

        def fill(part: _Part) -> Damage | None:
            try:
                stored = self._stored(column, part.group, images)
                with decoding:
                    self._decode(images, slots[part.places], part, stored, column)
            except DamagedError as error:
                return Damage(str(error), part.places)
            return None

        found = self._each(fill, list(self._parts(rows)), threads)
        return [damage for damage in found if damage is not None]

    def _require(self, resolution: int) -> None:
        known = resolutions(self._manifest.resolution)
        if resolution not in known:
            raise ValueError(f"{self.url} has no resolution {resolution}; it has {', '.join(map(str, known))}")

    def labels(self, rows: Rows) -> NDArray[np.int64]:
        """The labels of `rows`, int64 [len(rows)]; -1 for an image without a label."""
        labels = np.empty(len(rows), np.int64)
        for part in self._parts(rows):
            labels[part.places] = self._column("label", part.group).to_numpy()[part.rows]
        return labels

    def attribute(self, name: str, rows: Rows) -> list[Any]:
        """The values of one attribute for `rows`, None where missing; ValueError lists the known attributes."""
        if name not in self._manifest.attributes:
            known = ", ".join(self._manifest.attributes) or "none"
            raise ValueError(f"{self.url} has no attribute {name!r}; it has {known}")
        return self._objects(ATTRIBUTE + name, rows)

    def ids(self, rows: Rows) -> list[str]:
        """The names of `rows` in the source."""
        return self._objects("id", rows)

    def _objects(self, column: str, rows: Rows) -> list[Any]:
        values = np.empty(len(rows), object)
        for part in self._parts(rows):
            values[part.places] = self._column(column, part.group).take(pa.array(part.rows)).to_pylist()
        return values.tolist()

    def _parts(self, rows: Rows) -> Iterator[_Part]:
        """Divide `rows` by row group."""
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return
        if not 0 <= rows.min() <= rows.max() < self.rows:
            raise ValueError(
                f"rows {rows.min()} to {rows.max()} are not all in {self.url}/{self.name}, which has {self.rows} rows"
            )
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(groups, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            number = int(groups[places[0]])
            yield _Part(number, places, rows[places] - self._starts[number])

    def _column(self, column: str, number: int) -> pa.Array:
        shard, group = self._groups[number]
        return self._files.column(shard, group, column)

    def _stored(self, column: str, number: int, images: Pixels) -> Stored:
        shard, group = self._groups[number]
        raw = self._manifest.columns[column] == "raw"
        return self._files.images(shard, group, column, math.prod(images.shape[1:]) if raw else None)

    def _decode(self, images: Pixels, slots: Rows, part: _Part, stored: Stored, column: str) -> None:
        try:
            decode_into(images, slots, stored, part.rows, self._manifest.columns[column])
        except DamagedImageError as error:
            shard, group = self._groups[part.group]
            where = storage.join(self.url, shard.path)
            way_out = "restore that file or pack again"
            raise DamagedError(f"{where}: row group {group}, column {column}: {error}; {way_out}") from error

    def _each(self, do: Callable[[_Part], Done], parts: Sequence[_Part], threads: int) -> Iterable[Done]:
        """Call `do` for every part: on this thread if that is as fast, otherwise on several threads."""
        remote = not storage.is_local(self.url)
        at_once = min(len(parts), FETCHES if remote else threads)
        if at_once <= 1:
            return map(do, parts)
        with ThreadPoolExecutor(at_once) as pool:
            if remote:
                # Read each footer once first, or all threads would request the same one.
                list(pool.map(self._open, {self._groups[part.group][0] for part in parts}))
            return list(pool.map(do, parts))

    def _open(self, shard: Shard) -> None:
        with suppress(DamagedError):  # a later read of the shard raises it again
            self._files.open(shard)


@dataclass(frozen=True)
class Dataset:
    """A packed dataset: its manifest and its splits. Opening reads the manifest only."""

    url: str
    manifest: Manifest
    _splits: dict[str, Split] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def open(url: str, damaged: Damaged = "stop") -> "Dataset":
        """Read and validate the manifest; raises ValueError if it is missing or invalid.

        `damaged` decides about images with damaged bytes, see `Damaged`.
        """
        manifest = read_manifest(url)
        if manifest is None:
            raise storage.StorageNotFoundError(_no_manifest_sentence(url))
        splits = {name: Split(url, name, manifest, damaged) for name in manifest.splits}
        return Dataset(url, manifest, splits)

    @property
    def identity(self) -> dict[str, str]:
        """One checksum per split; they differ for another dataset packed at the same address."""
        return {
            name: hashlib.sha256(",".join(shard.sha256 for shard in split.shards).encode()).hexdigest()
            for name, split in self.manifest.splits.items()
        }

    @property
    def resolution(self) -> int:
        """The side in pixels of the images in the finest column."""
        return self.manifest.resolution

    @property
    def channels(self) -> int:
        """The number of channels of the images, 1 or 3."""
        return self.manifest.channels

    @property
    def label_count(self) -> int:
        """The number of classes; 0 for a dataset without labels."""
        return self.manifest.labels.count if self.manifest.labels else 0

    def split(self, name: str) -> Split:
        """The split `train`, or `validation` if images were held out; ValueError lists the existing splits."""
        if name not in self._splits:
            raise ValueError(
                f"{self.url} has no split {name!r}; it has {', '.join(self._splits)}; "
                "validation images are held out when a dataset is packed"
            )
        return self._splits[name]


def places(damage: Sequence[Damage]) -> Rows:
    """The places of all damaged images among those requested, int64 [damaged images]."""
    return np.concatenate([np.empty(0, np.int64), *(part.places for part in damage)])


def read_manifest(url: str) -> Manifest | None:
    """The manifest of a packed dataset, or None if there is none; raises ValueError if it is damaged."""
    where = storage.join(url, MANIFEST)
    if not storage.exists(where):
        return None
    return Manifest.from_json(storage.read_json(where), where)


def _no_manifest_sentence(url: str) -> str:
    names = storage.list_dir(url)
    if "packing.json" in names:
        return f"{url} is not fully packed; run the same `alae pack` again to continue where it stopped"
    state = "has no manifest.json" if names else "does not exist"
    return f"{url} is not a packed dataset: it {state}; make one with `alae pack SOURCE {url}`"
