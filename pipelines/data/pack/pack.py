"""Packs a source of images into a dataset: shuffled once, square, at every resolution, in verified shards.

The same source and options give the same bytes on every machine. An interruption loses at most the unfinished shards.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from pipelines import storage
from pipelines.data.describe import human
from pipelines.data.format.codec import Encoding
from pipelines.data.format.pyramid import COARSEST, FINEST, SPLITS, Manifest, attribute_types
from pipelines.data.format.shards import read_manifest
from pipelines.data.pack import order
from pipelines.data.pack.job import Plan
from pipelines.data.pack.jobs import Execute, PackingRun, Progress, first_few, pack_here
from pipelines.data.pack.state import STATE, Done, PackingState, Parameters
from pipelines.ray_connection import on_cluster
from pipelines.sources import Source, open_source
from pipelines.sources.decoding import ImageRejectedError, Square

Executor = Literal["auto", "here", "ray"]
MANY_IMAGES = 50_000  # above this number Ray saves more time than the seconds that it takes to start
MAX_DEVIATION = 127.5  # largest standard deviation of values from 0 to 255: half of them black, half of them white


class Options(TypedDict, total=False):
    """The options of `pack` that both domains of a dataset share."""

    square: Square
    encoding: Encoding
    seed: int
    windows: int
    rows_per_group: int | None
    rows_per_shard: int | None
    max_rejected_fraction: float
    executor: Executor


@dataclass(frozen=True)
class PackReport:
    """The result of a packing."""

    dest: str
    manifest: Manifest
    already_done: bool = False  # the dataset existed, packed from the same images with the same options
    resumed_shards: int = 0  # shards kept from an interrupted packing
    discarded_shards: int = 0  # shards deleted from an interrupted packing of other images or with other options

    @property
    def rows(self) -> dict[str, int]:
        """The number of images in each split."""
        return {name: split.rows for name, split in self.manifest.splits.items()}

    @property
    def rejected(self) -> int:
        """The number of files left out; rejected.jsonl lists them with their reasons."""
        return self.manifest.rejected


def pack(
    source: str | Source,
    dest: str,
    *,
    resolution: int | None = None,
    square: Square = "shorter_side",
    channels: int | None = None,
    encoding: Encoding = "png",
    validation_fraction: float = 0.0,
    seed: int = 0,
    windows: int = 1,
    min_deviation: float = 0.0,
    rows_per_group: int | None = None,
    rows_per_shard: int | None = None,
    max_rejected_fraction: float = 0.01,
    executor: Executor = "auto",
    progress: Progress | None = None,
) -> PackReport:
    """Pack `source` into the folder `dest`, or continue a packing with the same options where it stopped.

    `resolution` in pixels defaults to the largest power of two that fits the shorter side of the first readable image;
    `rows_per_group` and `rows_per_shard` default to values that suit it. `square` and `windows`, the number of squares
    taken from each image, are those of `decoding.squared`. `encoding` is that of the columns above 64 px, see
    `codec.encode`. `validation_fraction` of the images is held out as split `validation`; a source that itself says
    which images are held out allows only 0. Squares are rejected if no channel has a standard deviation of at least
    `min_deviation` levels of 255. `executor` "here" packs one shard after the other on threads of this process, "ray"
    packs one shard on each CPU of the connected cluster or of this machine, and "auto" uses Ray on a cluster and for
    more than 50,000 squares. `progress(done, total)` is called with numbers of squares at the start and after every row
    group.

    Raises ValueError with a remedy for wrong options, for a destination that holds something else, and if more than
    `max_rejected_fraction` of the squares are unusable; then no manifest is written. Raises RuntimeError if Ray fails.
    """
    check_options(
        resolution,
        encoding,
        square=square,
        executor=executor,
        validation_fraction=validation_fraction,
        windows=windows,
        min_deviation=min_deviation,
        max_rejected_fraction=max_rejected_fraction,
    )
    with storage.patience(0):  # a wrong address raises at once; later calls wait for a store that stops answering
        images = open_source(source, channels) if isinstance(source, str) else source
        resolution = resolution or default_resolution(images)
        sizes = _sizes(rows_per_group, rows_per_shard, resolution, images.channels, encoding)
        parameters = Parameters(
            fingerprint=images.fingerprint,
            resolution=resolution,
            channels=images.channels,
            square=square,
            encoding=encoding,
            validation_fraction=validation_fraction,
            seed=seed,
            rows_per_group=sizes[0],
            rows_per_shard=sizes[1],
            windows=windows,
            min_deviation=min_deviation,
        )
        if finished := read_manifest(dest):
            _refuse_other(dest, parameters.differences(Parameters.of_manifest(finished)))
            return PackReport(dest, finished, already_done=True)
        attribute_types(images.attributes.schema)  # refuses types that cannot be stored
        orders = order.split_orders(
            len(images), images.chunks, validation_fraction, seed, held_out=images.held_out, windows=windows
        )
        state, discarded = _begin(dest, parameters)
    resumed = sum(done.shard is not None for done in state.done.values())
    plan = Plan(images, orders, parameters, dest)
    manifest = PackingRun(plan, state, max_rejected_fraction, progress).complete(_executor(executor, plan.total))
    return PackReport(dest, manifest, resumed_shards=resumed, discarded_shards=discarded)


def preview(
    source: str | Source,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    encoding: Encoding = "png",
    windows: int = 1,
    rows_per_shard: int | None = None,
) -> str:
    """Describe in two lines what `pack` would do; reads the list of images and the first of them, writes nothing."""
    check_options(resolution, encoding, windows=windows)
    with storage.patience(0):
        images = open_source(source, channels) if isinstance(source, str) else source
        resolution = resolution or default_resolution(images)
    _, shard = _sizes(None, rows_per_shard, resolution, images.channels, encoding)
    squares = len(images) * windows
    shards = math.ceil(squares / shard)
    stored = human(squares * order.image_bytes(resolution, images.channels, encoding))
    parts = f"{shards:,} shards of up to {shard:,} images" if shards > 1 else "one shard"
    return f"{images.describe()}\nat {resolution}x{resolution} px about {stored} in {parts}"


def check_options(
    resolution: int | None,
    encoding: str = "png",
    *,
    square: str = "shorter_side",
    executor: str = "auto",
    validation_fraction: float = 0.0,
    windows: int = 1,
    min_deviation: float = 0.0,
    max_rejected_fraction: float = 0.0,
) -> None:
    """Raise ValueError for an option with an impossible value."""
    if resolution is not None and (resolution & (resolution - 1) or not COARSEST <= resolution <= FINEST):
        raise ValueError(f"resolution={resolution} is not possible; use a power of two from {COARSEST} to {FINEST}")
    for name, value, kind in (
        ("square", square, Square),
        ("encoding", encoding, Encoding),
        ("executor", executor, Executor),
    ):
        if value not in get_args(kind):
            raise ValueError(f"{name}={value!r} is unknown; use one of {', '.join(get_args(kind))}")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction={validation_fraction} must be at least 0 and below 1")
    if windows < 1:
        raise ValueError(f"windows={windows} must be at least 1")
    if windows > 1 and square == "pad":
        raise ValueError(f"windows={windows} has no meaning for square='pad', which keeps the whole image; use 1")
    if not 0 <= min_deviation < MAX_DEVIATION:
        raise ValueError(f"min_deviation={min_deviation:g} must be at least 0 and below {MAX_DEVIATION} levels of 255")
    if not 0 <= max_rejected_fraction <= 1:
        raise ValueError(f"max_rejected_fraction={max_rejected_fraction} must be from 0 to 1")


def _sizes(group: int | None, shard: int | None, resolution: int, channels: int, encoding: Encoding) -> tuple[int, int]:
    """Rows per row group and rows per shard: the given values, or defaults that suit the images."""
    shard = order.rows_per_shard(resolution, channels, encoding) if shard is None else shard
    group = min(shard, order.rows_per_group(resolution, channels, encoding)) if group is None else group
    for name, rows in (("rows_per_shard", shard), ("rows_per_group", group)):
        if rows < 1:
            raise ValueError(f"{name}={rows} must be at least 1")
    if shard % group:
        raise ValueError(f"rows_per_shard={shard} must be a multiple of rows_per_group={group}")
    return group, shard


def default_resolution(images: Source) -> int:
    """The largest power of two, in pixels, that fits the shorter side of the first readable image.

    Raises ValueError if no image is readable or the side is below 4.
    """
    unread = []
    for row, name in enumerate(images.index["id"]):
        try:
            side = min(images.load(row).shape[:2])
        except ImageRejectedError as error:
            unread.append(f"{name} ({error})")
            continue
        if side < COARSEST:
            raise ValueError(f"{name} has a side of {side} px, below {COARSEST}; set resolution and square='pad'")
        return min(FINEST, 1 << (side.bit_length() - 1))
    raise ValueError(f"none of the {len(images):,} images of {images.name} can be read: {first_few(unread)}")


def _executor(executor: Executor, images: int) -> Execute:
    if executor == "ray" or (executor == "auto" and (on_cluster() or images > MANY_IMAGES)):
        from pipelines.data.pack.on_ray import pack_on_ray  # importing Ray Data takes seconds

        return pack_on_ray
    return pack_here


def _begin(dest: str, parameters: Parameters) -> tuple[PackingState, int]:
    """Store and return the state to continue with, and the number of shards discarded for other images or options."""
    storage.check_writable(dest)
    where = storage.join(dest, STATE)
    older = PackingState(parameters)
    if storage.exists(where):
        older = PackingState.from_json(storage.read_json(where), where)
    elif names := [name for name in storage.list_dir(dest) if not name.startswith(".")]:
        raise ValueError(f"{dest} holds other files ({first_few(names)}) and no dataset; name a new folder")
    same = older.parameters == parameters
    there = {path: size for path, size in storage.list_files(dest).items() if _is_of_packing(path)}
    good = {path: done for path, done in older.done.items() if same and _is_there(done, there)}
    # Nothing is published yet: any other file is from a killed process or from a packing that is discarded.
    for path in there.keys() - good.keys():
        storage.delete_file(storage.join(dest, path))
    state = PackingState(parameters, good)
    storage.write_json_verified(where, state.to_json())
    return state, 0 if same else sum(done.shard is not None for done in older.done.values())


def _is_of_packing(path: str) -> bool:
    """Whether `path` is a shard, or a partial file that a killed process left."""
    return path.split("/")[0] in SPLITS or (path.startswith(".") and path.endswith(".part"))


def _is_there(done: Done, there: Mapping[str, int]) -> bool:
    return done.shard is None or there.get(done.shard.path) == done.shard.bytes


def _refuse_other(dest: str, differences: Sequence[str]) -> None:
    if differences:
        raise ValueError(
            f"{dest} holds a dataset that was packed differently: {', '.join(differences)}; "
            "name another folder, or delete that one first"
        )
