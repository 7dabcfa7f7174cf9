"""What every source of images offers, and the local copy that file formats with random access need."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from pipelines import storage
from pipelines.sources.decoding import Pixels


class Item(NamedTuple):
    """One image of a source."""

    name: str
    label: int  # -1 where the source has no labels
    load: Callable[[], Pixels]  # -> uint8 [H, W, channels]; raises ImageRejectedError


class Source(Protocol):
    """A sequence of items, and what is known about them before one is loaded."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    @property
    def channels(self) -> int:
        """Of every loaded image: 1 or 3."""

    @property
    def label_count(self) -> int:
        """0 where the source has no labels."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the class folders; empty if labels are bare numbers."""

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of files that are no images by their names."""

    @property
    def fingerprint(self) -> str:
        """Changes when the images, their names or their labels do."""

    def describe(self) -> str:
        """One line for people."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Item: ...
    def __iter__(self) -> Iterator[Item]: ...


def local_copy(source: str) -> tuple[Path, object]:
    """A file of this machine with the bytes of `source`, and what to hold while the file is needed."""
    try:
        storage.size(source)
    except storage.StorageNotFoundError as error:
        raise storage.StorageNotFoundError(f"source {error}") from error
    if storage.is_local(source):
        return storage.local_path(source), None
    folder = tempfile.TemporaryDirectory(prefix="source-")
    target = Path(folder.name) / "copy"
    storage.download(source, target)
    return target, folder
