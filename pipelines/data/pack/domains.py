"""Packs two domains side by side, into the folders `a` and `b` of one, as a translator reads them."""

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
"""Levels of 255. Values on two neighbouring levels, all that rounding leaves of a constant, deviate by at most this.

What instance normalisation adds to the variance, 1e-5 of values in [-1, 1], is as much as a deviation of 0.4: noise
below it would be scaled up by hundreds, the traced cause of MUNIT's NaN.
"""
SIDE_BY_SIDE = "side_by_side"
BY_FOLDERS = "folders"


def open_domains(
    source: str, second: str | None = None, domains: str | None = None, channels: int | None = None
) -> Pair:
    """The two sources: `source` and `second`, or what `domains` makes of `source`.

    `domains`: "folders" (trainA, trainB, testA and so on), "side_by_side" (every image cut in halves) or "NAME,NAME" for
    folders of other names. Both have the same channels. Raises ValueError where a domain is not there.
    """
    if (second is None) == (domains is None):
        raise ValueError("two domains are a second source, or one source whose domains are told; give one of the two")
    with storage.patience(0):  # here and below as `pack`
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
    """Packs two domains into the folders a and b of `dest`, or goes on where it stopped; a finished one is left alone.

    `second`, `domains`: see `open_domains`. `resolution` defaults to what fits both. Of names that both domains have,
    `validation_fraction` holds out the same in both. `progress` counts over both. All else as `pack`, for each domain.

    Raises ValueError as `pack`, and for a destination that holds anything but two domains.
    """
    check_options(resolution, validation_fraction=validation_fraction)
    pair = open_domains(source, second, domains, channels)
    with storage.patience(0):
        _refuse_other(dest)
        resolution = resolution or min(map(default_resolution, pair))
    seed = options.get("seed", 0)
    if validation_fraction and all(each.held_out is None for each in pair) and _share_some_names(pair):
        pair, validation_fraction = held_out_alike(pair, validation_fraction, seed), 0.0
    for each in pair:  # what is wrong with the second is told before the first is packed
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
    """What `pack_domains` would do, in two lines for each domain; writes nothing."""
    pair = open_domains(source, second, domains, channels)
    resolution = resolution or min(map(default_resolution, pair))
    return "\n".join(
        preview(each, resolution=resolution, encoding=encoding, windows=windows, rows_per_shard=rows_per_shard)
        for each in pair
    )


def _names(domains: str) -> tuple[str, str]:
    """The two names of the folders of the domains."""
    names = CYCLEGAN if domains == BY_FOLDERS else tuple(name.strip() for name in domains.split(","))
    if len(names) != 2 or "" in names or names[0].lower() == names[1].lower():
        raise ValueError(
            f"domains={domains!r} is unknown; use {BY_FOLDERS}, {SIDE_BY_SIDE}, or the names of two folders, such as cat,dog"
        )
    return names[0], names[1]


def _share_some_names(pair: Pair) -> bool:
    """Whether some but not all names are of both: then the order alone does not hold out the same."""
    first, second = (each.index["id"].to_pylist() for each in pair)
    return first != second and not set(first).isdisjoint(second)


def _refuse_other(dest: str) -> None:
    others = [name for name in storage.list_dir(dest) if name not in FOLDERS and not name.startswith(".")]
    if others:
        raise ValueError(f"{dest} holds other things ({first_few(others)}) than two domains; name a new folder")


def _counted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """`progress` of both domains, for the one that comes after `before` squares."""
    return None if progress is None else lambda done, _: progress(before + done, total)
