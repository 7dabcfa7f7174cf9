"""Packs two domains into the folders `a` and `b` of one folder, the form that translators read."""

from dataclasses import replace
from typing import Unpack

from pipelines import storage
from pipelines.data.domains import FOLDERS, urls
from pipelines.data.format.codec import Encoding
from pipelines.data.pack import order
from pipelines.data.pack.jobs import Progress, first_few
from pipelines.data.pack.pack import Options, PackReport, check_options, default_resolution, pack, preview
from pipelines.sources import open_source
from pipelines.sources.domains import CYCLEGAN, Pair, by_folders, held_out_alike, side_by_side

MIN_DEVIATION = 0.5
"""Standard deviation in levels of 255. Rounding leaves a constant image on two neighbouring levels, which deviate by at
most this much.

Instance normalisation adds 1e-5 to the variance of values in [-1, 1], which corresponds to a deviation of 0.4 levels.
Noise below that would be amplified by hundreds, the traced cause of MUNIT's NaN.
"""
SIDE_BY_SIDE = "side_by_side"
BY_FOLDERS = "folders"


def open_domains(
    source: str, second: str | None = None, domains: str | None = None, channels: int | None = None
) -> Pair:
    """Open the sources of both domains: `source` and `second`, or the two parts of `source` chosen by `domains`.

    `domains` is "folders" (trainA, trainB, testA and so on), "side_by_side" (every image is cut in halves) or
    "NAME,NAME" for folders with other names. Both sources get the same number of channels. Raises ValueError if a
    domain does not exist.
    """
    if (second is None) == (domains is None):
        raise ValueError("two domains need either a second source or the domains of one source; give one of the two")
    with storage.patience(0):  # as in `pack`
        first = open_source(source, channels)
        if second is not None:
            pair = (first, open_source(second, channels))
        elif domains == SIDE_BY_SIDE:
            pair = side_by_side(first)
        else:
            pair = by_folders(first, _names(domains or BY_FOLDERS))
    deepest = max(each.channels for each in pair)
    return replace(pair[0], channels=deepest), replace(pair[1], channels=deepest)


def pack_domains(
    source: str,
    dest: str,
    *,
    second: str | None = None,
    domains: str | None = None,
    resolution: int | None = None,
    channels: int | None = None,
    validation_fraction: float = 0.0,
    min_deviation: float = MIN_DEVIATION,
    progress: Progress | None = None,
    **options: Unpack[Options],
) -> tuple[PackReport, PackReport]:
    """Pack two domains into the folders a and b of `dest`, or continue where a packing stopped.

    A complete domain is left as it is. `second` and `domains` are those of `open_domains`. `resolution` defaults to the
    largest that fits both domains. A name that both domains have is held out in both or in neither. `progress` counts
    over both domains. All other options are those of `pack` and apply to each domain.

    Raises ValueError as `pack`, and for a destination that holds anything except two domains.
    """
    check_options(resolution, validation_fraction=validation_fraction)
    pair = open_domains(source, second, domains, channels)
    with storage.patience(0):
        _refuse_other(dest)
        resolution = resolution or min(map(default_resolution, pair))
    seed = options.get("seed", 0)
    if validation_fraction and all(each.held_out is None for each in pair) and _share_some_names(pair):
        pair, validation_fraction = held_out_alike(pair, validation_fraction, seed), 0.0
    for each in pair:  # an error in the second domain is raised before the first is packed
        order.split_orders(len(each), None, validation_fraction, seed, held_out=each.held_out)
    squares = [len(each) * options.get("windows", 1) for each in pair]
    first, other = (
        pack(
            each,
            url,
            resolution=resolution,
            validation_fraction=validation_fraction,
            min_deviation=min_deviation,
            progress=_counted(progress, sum(squares[:number]), sum(squares)),
            **options,
        )
        for number, (each, url) in enumerate(zip(pair, urls(dest, 2), strict=True))
    )
    return first, other


def preview_domains(
    source: str,
    *,
    second: str | None = None,
    domains: str | None = None,
    resolution: int | None = None,
    channels: int | None = None,
    encoding: Encoding = "png",
    windows: int = 1,
    rows_per_shard: int | None = None,
) -> str:
    """Describe in two lines per domain what `pack_domains` would do; writes nothing."""
    pair = open_domains(source, second, domains, channels)
    resolution = resolution or min(map(default_resolution, pair))
    return "\n".join(
        preview(each, resolution=resolution, encoding=encoding, windows=windows, rows_per_shard=rows_per_shard)
        for each in pair
    )


def _names(domains: str) -> tuple[str, str]:
    """The folder names of the two domains."""
    names = CYCLEGAN if domains == BY_FOLDERS else tuple(name.strip() for name in domains.split(","))
    if len(names) != 2 or "" in names or names[0].lower() == names[1].lower():
        raise ValueError(
            f"domains={domains!r} is unknown; use {BY_FOLDERS}, {SIDE_BY_SIDE}, or the names of two folders, such as cat,dog"
        )
    return names[0], names[1]


def _share_some_names(pair: Pair) -> bool:
    """Whether the domains share some but not all names, so that the order alone would hold out different ones."""
    first, second = (each.index["id"].to_pylist() for each in pair)
    return first != second and not set(first).isdisjoint(second)


def _refuse_other(dest: str) -> None:
    others = [name for name in storage.list_dir(dest) if name not in FOLDERS and not name.startswith(".")]
    if others:
        raise ValueError(f"{dest} holds other files ({first_few(others)}) than two domains; name a new folder")


def _counted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """A progress function over both domains for the domain that begins after `before` squares."""
    return None if progress is None else lambda done, _: progress(before + done, total)
