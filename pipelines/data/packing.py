"""Packs a source of images into a dataset: shuffled once, square, at every resolution, in verified shards.

The same source and options give the same bytes. An interruption loses at most the shard in work.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.data.intake import Accepted, Intake
from pipelines.data.packing_state import STATE, PackingState, Parameters
from pipelines.data.pyramid import (
    COARSEST,
    FINEST,
    FORMAT,
    MANIFEST,
    REJECTED,
    VERSION,
    Labels,
    Manifest,
    Shard,
    SplitShards,
    columns,
    schema,
    to_table,
)
from pipelines.data.shards import read_manifest
from pipelines.sources import Source, open_source
from pipelines.sources.decoding import ImageRejectedError, Square, squared

Progress = Callable[[int, int], None]
SHOWN = 5  # names listed in a message
ENOUGH_REJECTED = 20  # an early stop waits for so many, to show what is wrong with more than the first


@dataclass(frozen=True)
class PackReport:
    """What a packing gave."""

    dest: str
    manifest: Manifest
    already_done: bool = False  # the dataset was there, packed from the same images with the same options
    resumed_shards: int = 0  # of an interrupted packing, and still good
    discarded_shards: int = 0  # of an interrupted packing of other images or with other options

    @property
    def rows(self) -> dict[str, int]:
        """Images by split."""
        return {name: split.rows for name, split in self.manifest.splits.items()}

    @property
    def rejected(self) -> int:
        """Files left out, listed with their reasons in rejected.jsonl."""
        return self.manifest.rejected


def pack(
    source: str,
    dest: str,
    *,
    resolution: int | None = None,
    square: Square = "crop",
    channels: int | None = None,
    validation_fraction: float = 0.0,
    seed: int = 0,
    rows_per_group: int = 256,
    rows_per_shard: int = 16384,
    max_rejected_fraction: float = 0.01,
    progress: Progress | None = None,
) -> PackReport:
    """Packs `source` into the folder `dest`, or goes on where a packing with the same options stopped.

    `resolution` defaults to the largest power of two that fits the shorter side of the first readable image.
    `square`: see `decoding.squared`. `validation_fraction` of the images is held out as split `validation`.
    `progress(done, total)` is called with images of the source after every row group. Raises ValueError with
    the way out for wrong options, for a destination that holds something else, and if more than
    `max_rejected_fraction` of the images is unusable; then no manifest is written.
    """
    _check_options(resolution, square, validation_fraction, max_rejected_fraction)
    if rows_per_group < 1 or rows_per_shard < 1 or rows_per_shard % rows_per_group:
        raise ValueError(f"rows_per_shard={rows_per_shard} must be a multiple of rows_per_group={rows_per_group}")
    images = open_source(source, channels)
    parameters = Parameters(
        fingerprint=images.fingerprint,
        resolution=resolution or _default_resolution(images),
        channels=images.channels,
        square=square,
        validation_fraction=validation_fraction,
        seed=seed,
        rows_per_group=rows_per_group,
        rows_per_shard=rows_per_shard,
    )
    if finished := read_manifest(dest):
        _refuse_other(dest, parameters.differences(Parameters.of_manifest(finished)))
        return PackReport(dest, finished, already_done=True)
    orders = _split_orders(len(images), validation_fraction, seed)
    state, discarded = _begin(dest, parameters)
    resumed = sum(map(len, state.shards.values()))
    manifest = _Packing(images, orders, dest, state, max_rejected_fraction, progress).run()
    return PackReport(dest, manifest, resumed_shards=resumed, discarded_shards=discarded)


def _check_options(
    resolution: int | None, square: str, validation_fraction: float, max_rejected_fraction: float
) -> None:
    if resolution is not None and (resolution & (resolution - 1) or not COARSEST <= resolution <= FINEST):
        raise ValueError(f"resolution={resolution} is not possible; use a power of two from {COARSEST} to {FINEST}")
    if square not in ("crop", "pad"):
        raise ValueError(f"square={square!r} is unknown; use 'crop' or 'pad'")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction={validation_fraction} must be at least 0 and below 1")
    if not 0 <= max_rejected_fraction <= 1:
        raise ValueError(f"max_rejected_fraction={max_rejected_fraction} must be from 0 to 1")


def _default_resolution(images: Source) -> int:
    unread = []
    for item in images:
        try:
            side = min(item.load().shape[:2])
        except ImageRejectedError as error:
            unread.append(f"{item.name} ({error})")
            continue
        if side < COARSEST:
            raise ValueError(f"{item.name} has a side of {side} px, below {COARSEST}; set resolution and square='pad'")
        return min(FINEST, 1 << (side.bit_length() - 1))
    raise ValueError(f"none of the {len(images):,} images of {images.name} can be read: {_first_few(unread)}")


def _split_orders(count: int, validation_fraction: float, seed: int) -> dict[str, list[int]]:
    """For each split the indices of its images in the order of packing: one shuffle, cut in two."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count).tolist()
    held_out = round(validation_fraction * count)
    if held_out == count or (held_out == 0 and validation_fraction > 0):
        raise ValueError(
            f"validation_fraction={validation_fraction} of {count} images gives {held_out} for validation, "
            f"{count - held_out} for training; both need at least one"
        )
    return {"train": order[held_out:], "validation": order[:held_out]}


def _begin(dest: str, parameters: Parameters) -> tuple[PackingState, int]:
    """The state to go on with, which is stored, and how many shards of an older one were discarded."""
    storage.check_writable(dest)
    where = storage.join(dest, STATE)
    discarded = 0
    if storage.exists(where):
        state = PackingState.from_json(storage.read_json(where), where)
        if state.parameters == parameters and _has_all_shards(dest, state):
            return state, 0
        # Nothing of it was published, and with other images or options none of it can be used.
        for split, shards in state.shards.items():
            storage.delete_tree(storage.join(dest, split))
            discarded += len(shards)
    elif names := [name for name in storage.list_dir(dest) if not name.startswith(".")]:
        raise ValueError(f"{dest} holds other things ({_first_few(names)}) and no dataset; name a new folder")
    state = PackingState.new(parameters)
    storage.write_json_verified(where, state.to_json())
    return state, discarded


def _has_all_shards(dest: str, state: PackingState) -> bool:
    shards = [shard for split in state.shards.values() for shard in split]
    try:
        return all(storage.size(storage.join(dest, shard.path)) == shard.bytes for shard in shards)
    except storage.StorageNotFoundError:
        return False


def _refuse_other(dest: str, differences: Sequence[str]) -> None:
    if differences:
        raise ValueError(
            f"{dest} holds a dataset that was packed otherwise: {', '.join(differences)}; "
            "name another folder, or delete that one first"
        )


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


@dataclass
class _Packing:
    source: Source
    orders: dict[str, list[int]]
    dest: str
    state: PackingState
    max_rejected_fraction: float
    progress: Progress | None

    def run(self) -> Manifest:
        for split, order in self.orders.items():
            self._pack_split(split, order)
        self._store_rejected()
        self._refuse_many_rejected(at_least=1)
        manifest = self._manifest()
        storage.write_json_verified(storage.join(self.dest, MANIFEST), manifest.to_json())
        storage.delete_file(storage.join(self.dest, STATE))
        return manifest

    def _pack_split(self, split: str, order: list[int]) -> None:
        square = partial(squared, resolution=self.state.parameters.resolution, square=self.state.parameters.square)
        with Intake(self.source, order, self.state.positions[split], square, self.state.rejected) as intake:
            while not intake.exhausted:
                self._pack_shard(split, intake)

    def _pack_shard(self, split: str, intake: Intake) -> None:
        with tempfile.TemporaryDirectory(prefix="packing-") as folder:
            file = Path(folder) / "shard.parquet"
            groups = self._write_groups(split, file, intake)
            if groups:
                self.state.shards[split].append(self._publish(split, file, groups))
        self.state.positions[split] = intake.position
        storage.write_json_verified(storage.join(self.dest, STATE), self.state.to_json())
        self._report(split, intake)

    def _write_groups(self, split: str, file: Path, intake: Intake) -> tuple[int, ...]:
        parameters = self.state.parameters
        groups: list[int] = []
        with pq.ParquetWriter(
            file,
            schema(parameters.resolution, parameters.channels),
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            while sum(groups) < parameters.rows_per_shard:
                images = intake.take(parameters.rows_per_group)
                if images:
                    writer.write_table(_table(images), row_group_size=parameters.rows_per_group)
                    groups.append(len(images))
                self._refuse_many_rejected(at_least=ENOUGH_REJECTED)
                if intake.exhausted:
                    break
                if sum(groups) < parameters.rows_per_shard:
                    self._report(split, intake)
        return tuple(groups)

    def _publish(self, split: str, file: Path, groups: tuple[int, ...]) -> Shard:
        path = f"{split}/shard_{len(self.state.shards[split]):05d}.parquet"
        digest = storage.upload_verified(file, storage.join(self.dest, path))
        return Shard(path, sum(groups), groups, file.stat().st_size, digest)

    def _report(self, split: str, intake: Intake) -> None:
        if self.progress:
            positions = self.state.positions | {split: intake.position}
            self.progress(sum(positions.values()), len(self.source))

    def _rejected(self) -> list[tuple[str, str]]:
        return sorted([*self.source.skipped, *self.state.rejected])

    def _store_rejected(self) -> None:
        lines = [json.dumps({"name": name, "reason": reason}) + "\n" for name, reason in self._rejected()]
        storage.write_bytes_verified(storage.join(self.dest, REJECTED), "".join(lines).encode())

    def _refuse_many_rejected(self, at_least: int) -> None:
        rejected = self.state.rejected
        if len(rejected) < at_least or len(rejected) <= self.max_rejected_fraction * len(self.source):
            return
        self._store_rejected()
        examples = _first_few([f"{name} ({reason})" for name, reason in sorted(rejected)])
        raise ValueError(
            f"{len(rejected):,} of {len(self.source):,} images are unusable, more than "
            f"max_rejected_fraction={self.max_rejected_fraction:g} allows: {examples}; they are listed in "
            f"{storage.join(self.dest, REJECTED)}: repair or remove them, or raise max_rejected_fraction"
        )

    def _manifest(self) -> Manifest:
        parameters = self.state.parameters
        splits = {
            name: SplitShards(sum(shard.rows for shard in shards), tuple(shards))
            for name, shards in self.state.shards.items()
            if shards
        }
        if "train" not in splits:
            raise ValueError(f"no image of {self.source.name} is usable; {REJECTED} in {self.dest} says why")
        count = self.source.label_count
        return Manifest(
            format=FORMAT,
            version=VERSION,
            resolution=parameters.resolution,
            channels=parameters.channels,
            columns=columns(parameters.resolution),
            labels=Labels(count, self.source.label_names) if count else None,
            source=self.source.name,
            fingerprint=parameters.fingerprint,
            seed=parameters.seed,
            square=parameters.square,
            validation_fraction=parameters.validation_fraction,
            rows_per_group=parameters.rows_per_group,
            rows_per_shard=parameters.rows_per_shard,
            rejected=len(self._rejected()),
            splits=splits,
        )


def _table(images: list[Accepted]) -> pa.Table:
    names, labels, pixels = zip(*images, strict=True)
    return to_table(names, labels, np.stack(pixels))
