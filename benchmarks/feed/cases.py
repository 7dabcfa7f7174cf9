"""Measured cases: rows of tables, each a module that runs with options."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.feed.datasets import files, shards
from benchmarks.feed.stores import Store

WORKERS = (0, 2)
DECODED = 1024  # images whose bytes are held in memory to be decoded
REMOTE_FILES = 512  # the same few are read again and again, which costs the store as much as others would
STEP_S = 0.005
SWITCH = {"sides": [32, 64], "images": [50_000, 40_000]}
LEVELS = (4, 16, 64, 128, 256)

Options = dict[str, Any]
Rows = dict[str, Options]


@dataclass(frozen=True)
class Case:
    """Rows of one table, each measured by its own process, which runs `module` with the Python of `where`."""

    table: str
    where: Literal["ours", "rivals"]
    module: str
    rows: Mapping[str, Options]


@dataclass(frozen=True)
class Kind:
    """Images of one size and encoding, and the names of the forms in which they are stored."""

    title: str
    side: int
    stored: str  # of the tars and the MosaicML shards, after "tar_" and "mds_"
    files: str  # folder of image files
    packed: str = ""

    @property
    def decoder(self) -> str:
        """Decoder of the images in tars, shards and our datasets."""
        return "raw" if self.stored.startswith("raw") else "pillow"


RAW16 = Kind("16 px raw", 16, "raw16", "png16", "packed_raw16")
RAW64 = Kind("64 px raw", 64, "raw64", "png64", "packed_raw64")
PNG256 = Kind("256 px PNG", 256, "png256", "png256", "packed_png256")
JPEG256 = Kind("256 px JPEG", 256, "jpeg256", "jpeg256", "packed_jpeg256")
REMOTE = (RAW64, JPEG256)


def shrunk(side: int) -> Kind:
    """Images of 256 px that are decoded and shrunk to `side`."""
    return Kind(f"{side} px", side, "jpeg256", "jpeg256")


def local(folder: Path, timing: Options) -> Iterator[Case]:
    """Cases on local disk."""
    for kind in (RAW16, RAW64, PNG256, JPEG256):
        table = f"{kind.title}, local disk"
        yield from _ours(table, str(folder / kind.packed), kind, (1, 2), timing)
        yield Case(table, "rivals", "limits", _limits(folder, kind, shards(folder, kind.packed), timing))
        library: dict[str, Rows] = {"torch_files": {}, "mosaic": {}, "webdata": {}}
        for how, workers, decoder, images in _ways(kind):
            options = {"side": kind.side, "workers": workers, "decoder": decoder, **timing}
            own = {"files": files(folder, images.files), **options}
            if decoder == "raw":
                own["decoder"] = "pillow"  # there are no raw files
            library["torch_files"][f"DataLoader over files, {how.replace('raw', 'PNG by pillow')}"] = own
            place = {"place": str(folder / f"mds_{images.stored}"), "count": len(own["files"])}
            library["mosaic"][f"MosaicML streaming, {how}"] = place | options
            tars = {"shards": files(folder, f"tar_{images.stored}")}
            library["webdata"][f"WebDataset, {how}"] = tars | options
        for module, rows in library.items():
            yield Case(table, "rivals", module, rows)


def _ways(kind: Kind) -> Iterator[tuple[str, int, str, Kind]]:
    """Settings of the other libraries: description, workers, decoder, and data."""
    for workers in WORKERS:
        yield f"{workers} workers, {kind.decoder}", workers, kind.decoder, kind
    if kind.decoder == "raw":
        yield f"{WORKERS[-1]} workers, 256 px JPEG shrunk by pillow", WORKERS[-1], "pillow", shrunk(kind.side)
    else:
        yield f"{WORKERS[-1]} workers, imagecodecs", WORKERS[-1], "imagecodecs", kind


def _ours(table: str, path: str, kind: Kind, readers: tuple[int, ...], timing: Options) -> Iterator[Case]:
    own = {"path": path, "side": kind.side, **timing}
    for tasks in readers:  # a Ray of its own for each
        name = f"ours: Ray Data and feed, reading tasks: {tasks}"
        yield Case(table, "ours", "ours", {name: {"what": "ray", "readers": tasks, **own}})
    rows = {
        "ours without Ray: reader and feed, 1 process": {"what": "without_ray", **own},
        "ours without Ray: reader alone, 1 process": {"what": "reader", **own},
    }
    yield Case(table, "ours", "ours", rows)


def _limits(folder: Path, kind: Kind, packed: list[str], timing: Options) -> Rows:
    options = {"side": kind.side, "decoder": kind.decoder, **timing}
    rows: Rows = {f"pyarrow, in order, 1 process, {kind.decoder}": {"what": "scan", "shards": packed, **options}}
    if kind.decoder != "raw":
        images = files(folder, kind.files, DECODED)
        for threads in (1, 2):
            name = f"decoding alone: imagecodecs, from memory, threads: {threads}"
            rows[name] = {"what": "decoding", "files": images, "side": kind.side, "threads": threads, **timing}
    return rows


def remote_paths(folder: Path) -> list[Path]:
    """Files that a store must hold for the cases below."""
    folders = [f"{form}_{kind.stored}" for kind in REMOTE for form in ("tar", "mds")] + [kind.packed for kind in REMOTE]
    found = [path for name in folders for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return found + [Path(path) for kind in REMOTE for path in files(folder, kind.files, REMOTE_FILES)]


def remote(folder: Path, store: Store, timing: Options) -> Iterator[Case]:
    """Cases from an object store, for two kinds of images, always with two workers or reading tasks."""

    def urls(paths: list[str]) -> list[str]:
        return [store.url(str(Path(path).relative_to(folder))) for path in paths]

    for kind in REMOTE:
        table = f"{kind.title}, {store.title}"
        yield from _ours(table, store.url(kind.packed), kind, WORKERS[-1:], timing)
        packed = urls(shards(folder, kind.packed))
        scan = {"what": "scan", "shards": packed, "side": kind.side, "decoder": kind.decoder, **timing}
        yield Case(table, "rivals", "limits", {f"pyarrow, in order, 1 process, {kind.decoder}": scan})
        options = {"side": kind.side, "workers": WORKERS[-1], "decoder": kind.decoder, **timing}
        own = options | {"files": urls(files(folder, kind.files, REMOTE_FILES)), "decoder": "pillow"}
        yield Case(table, "rivals", "torch_files", {"DataLoader over files by s3fs, 2 workers, pillow": own})
        place = {"place": store.url(f"mds_{kind.stored}"), "count": 0}
        name = f"MosaicML streaming, 2 workers, {kind.decoder}, first epoch"
        yield Case(table, "rivals", "mosaic", {name: place | options})
        tars = {
            "shards": [
                store.pipe(f"tar_{kind.stored}/{Path(path).name}") for path in files(folder, f"tar_{kind.stored}")
            ]
        }
        yield Case(table, "rivals", "webdata", {f"WebDataset by curl, 2 workers, {kind.decoder}": tars | options})


def traffic(folder: Path, store: Store) -> Iterator[tuple[str, Case]]:
    """One epoch at several levels of one dataset, with the name of the column that is read."""
    images = len(files(folder, JPEG256.files))
    for side in LEVELS:
        options = {"what": "epoch", "path": store.url(JPEG256.packed), "side": side, "images": images}
        yield f"r{side}", Case(f"One epoch at one level, {store.title}", "ours", "ours", {f"{side} px": options})


def waits(path: str, where: str) -> Case:
    """A schedule with a change of level in it."""
    table = f"Waiting for data: {1000 * STEP_S:.0f} ms a step, 32 and then 64 px"
    return Case(table, "ours", "waits", {where: {"path": path, "step_s": STEP_S, **SWITCH}})
