"""The datasets of an experiment: one, or the two of a translator, which lie side by side in the folders `a` and `b`."""

from pipelines import storage
from pipelines.data.format.pyramid import MANIFEST
from pipelines.data.format.shards import Damaged, Dataset

FOLDERS = ("a", "b")
"""Of the domains within a dataset of two, in their order."""


def urls(path: str, domains: int) -> tuple[str, ...]:
    """Where the datasets of a `data.path` lie, one per domain."""
    return (path,) if domains == 1 else tuple(storage.join(path, folder) for folder in FOLDERS)


def is_pair(path: str) -> bool:
    """Whether `path` holds two packed datasets side by side."""
    return all(storage.exists(storage.join(url, MANIFEST)) for url in urls(path, 2))


def parts(path: str) -> tuple[str, ...]:
    """The datasets that lie at `path`: itself, or the two side by side in it, packed or begun."""
    pair = urls(path, 2)
    return pair if any(map(storage.exists, pair)) else (path,)


def open_datasets(path: str, domains: int, damaged: Damaged = "stop") -> tuple[Dataset, ...]:
    """The datasets of `path`, one per domain.

    Raises ValueError with the way out where there are none, or where a dataset of one domain stands for two or the reverse.
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
