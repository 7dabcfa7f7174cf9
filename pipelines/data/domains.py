"""The datasets of an experiment: one, or for a translator two, in the folders `a` and `b` of one folder."""

from pipelines import storage
from pipelines.data.format.pyramid import MANIFEST
from pipelines.data.format.shards import Damaged, Dataset

FOLDERS = ("a", "b")
"""Folder names of the two domains of a dataset, in order."""


def urls(path: str, domains: int) -> tuple[str, ...]:
    """The addresses of the datasets of a `data.path`, one per domain."""
    return (path,) if domains == 1 else tuple(storage.join(path, folder) for folder in FOLDERS)


def is_pair(path: str) -> bool:
    """Whether `path` holds a packed dataset for each of two domains."""
    return all(storage.exists(storage.join(url, MANIFEST)) for url in urls(path, 2))


def parts(path: str) -> tuple[str, ...]:
    """The addresses of the datasets at `path`: its two domains if one of them exists, even half packed, or `path`."""
    pair = urls(path, 2)
    return pair if any(map(storage.exists, pair)) else (path,)


def open_datasets(path: str, domains: int, damaged: Damaged = "stop") -> tuple[Dataset, ...]:
    """Open the datasets of `path`, one per domain.

    `damaged` is that of `Dataset.open`. Raises ValueError with a remedy if there is no dataset, or if it has one domain
    instead of two or two instead of one.
    """
    alone = storage.exists(storage.join(path, MANIFEST))
    if domains > 1 and alone:
        raise ValueError(
            f"data.path={path} is a dataset of one domain, and the algorithm translates between two; pack both with "
            "`alae pack`, see docs/data.md, or name their folder"
        )
    if domains == 1 and not alone and is_pair(path):
        names = " or ".join(urls(path, 2))
        raise ValueError(f"data.path={path} holds two domains, and the algorithm trains on one; name {names}")
    return tuple(Dataset.open(url, damaged) for url in urls(path, domains))
