"""Finds the images among the files of a folder or archive, and their labels from class folders."""

import posixpath
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pipelines.sources.columns import as_labels, scalars
from pipelines.sources.decoding import formats
from pipelines.sources.metadata import LABEL, beside, is_metadata, read_metadata
from pipelines.sources.source import Source, make_source

MAX_FILE_BYTES = 512 * 2**20
_NO_IMAGE = "skipped: not an image that Pillow can read, by its name"
_SYSTEM_FILES = {"__MACOSX", "Thumbs.db", "desktop.ini"}


class FileReader(Protocol):
    """A `Reader` that returns encoded files, never pixels."""

    def fetch(self, key: Any) -> bytes:
        """The file's bytes."""


class Member(NamedTuple):
    """One file of a folder or archive."""

    path: str
    size: int
    key: Any  # the reader's key of the file; a struct is given as a tuple of its values
    archive: str = ""  # the archive that holds the file, if there are several

    @property
    def name(self) -> str:
        """The name shown to users: the path, with the archive in front if there are several."""
        return printable(f"{self.archive}/{self.path}" if self.archive else self.path)


def image_files(
    source: str,
    kind: str,
    channels: int,
    members: Iterable[Member],
    key_type: pa.DataType,
    reader: FileReader,
    metadata: Iterable[tuple[str, pa.Table]] = (),
) -> Source:
    """Make a source of all members whose names have the ending of an image; hidden files are ignored.

    Labels come from the metadata files among the members, otherwise from class folders. `metadata` holds further
    tables, as `metadata.beside` takes them.
    """
    visible = [member for member in members if not is_hidden(member.path)]
    described = [member for member in visible if is_metadata(member.path)]
    refusals = [(member, _refusal(member)) for member in visible if not is_metadata(member.path)]
    images = [member for member, reason in refusals if not reason]
    ids = [member.name for member in images]
    texts = [(member, reader.fetch(pa.scalar(member.key, key_type).as_py())) for member in described]
    tables = [(posixpath.basename(m.path), read_metadata(m.name, text, source)) for m, text in texts]
    columns = beside(ids, [*tables, *metadata], source)
    label_names, labels = class_folders([member.path for member in images])
    if LABEL in columns:
        labels, label_names = as_labels(columns.pop(LABEL), f"source {source}")
    return make_source(
        source,
        kind,
        channels,
        reader,
        ids=ids,
        keys=pa.array([member.key for member in images], key_type),
        labels=labels,
        label_names=label_names,
        attributes=scalars(pa.table(columns), f"source {source}"),
        content=[np.array([member.size for member in images], np.int64).data],
        skipped=tuple((member.name, reason) for member, reason in refusals if reason),
    )


def class_folders(paths: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Class names and the labels int64 [N] of the paths; ((), all -1) unless each path is exactly one folder deep.

    Folders that all paths share do not count, so an archive with one folder around its classes has classes too.
    """
    folders = [_parts(path)[:-1] for path in paths]
    shared = len(_common_start(folders))
    below = [folder[shared:] for folder in folders]
    if not all(len(folder) == 1 for folder in below):
        return (), np.full(len(paths), -1)
    names = sorted({folder[0] for folder in below})
    index = {name: label for label, name in enumerate(names)}
    return tuple(map(printable, names)), np.array([index[folder[0]] for folder in below], np.int64)


def below_shared_folder(paths: Sequence[str]) -> list[str]:
    """The paths without the leading folders that all of them share."""
    shared = len(_common_start([tuple(path.split("/")[:-1]) for path in paths]))
    return ["/".join(path.split("/")[shared:]) for path in paths]


def printable(name: str) -> str:
    """`name` with bytes that are not UTF-8 replaced, because neither Parquet nor JSON can store them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_hidden(path: str) -> bool:
    """Whether a file or a folder above it is hidden or belongs to an operating system."""
    return any(part.startswith(".") or part in _SYSTEM_FILES for part in _parts(path))


@cache
def image_suffixes() -> frozenset[str]:
    """Endings of the files that are read as images, in lower case with the dot, such as ".jpg"."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats())


def _parts(path: str) -> tuple[str, ...]:
    # Equal to PurePosixPath(path).parts, which takes ten times as long: many seconds for a million files.
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _common_start(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    low, high = min(folders, default=()), max(folders, default=())
    return tuple(part for part, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))


def _refusal(member: Member) -> str:
    suffix = posixpath.splitext(member.path)[1].lower()
    if suffix and suffix not in image_suffixes():
        return _NO_IMAGE
    if member.size > MAX_FILE_BYTES:
        return f"skipped: the file has {member.size:,} bytes, more than {MAX_FILE_BYTES:,}"
    return ""
