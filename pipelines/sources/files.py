"""Images that are files, in a folder or a zip; the names of their class folders are the labels."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from PIL import Image

from pipelines import storage
from pipelines.sources.decoding import ImageRejectedError, Pixels, decode
from pipelines.sources.source import Item, local_copy

MAX_FILE_BYTES = 512 * 2**20
_REASON_SKIPPED = "skipped: by its name not an image that Pillow can read"
_SYSTEM_FILES = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class ImageFiles:
    """A source of image files, sorted by path."""

    name: str
    channels: int
    kind: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    fingerprint: str
    fetch: Callable[[str], bytes]  # path -> bytes; raises ImageRejectedError

    @property
    def label_count(self) -> int:
        """How many class folders there are."""
        return len(self.label_names)

    def describe(self) -> str:
        """One line for people."""
        classes = f" in {self.label_count} classes" if self.label_count else ""
        return f"{self.name}: {self.kind} of {len(self):,} image files{classes}"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        path = self.paths[index]
        return Item(_printable(path), self.labels[index], partial(self._load, path))

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def _load(self, path: str) -> Pixels:
        return decode(self.fetch(path), self.channels)


def open_folder(source: str, channels: int) -> ImageFiles:
    """All image files below a folder; hidden files are ignored."""
    if storage.is_local(source) and storage.local_path(source).is_file():
        raise ValueError(f"source {source} is a single file of no known kind; give a folder, a .zip or a .npz")
    sizes = storage.list_files(source)
    if not sizes and not storage.exists(source):
        raise storage.StorageNotFoundError(f"source {source} does not exist")
    marks = {path: [path, size] for path, size in sizes.items()}
    return _image_files(source, channels, "folder", marks, partial(_fetch_file, source, sizes))


def open_zip(source: str, channels: int) -> ImageFiles:
    """All image files in a zip; one that is not on this machine is copied to it first."""
    path, kept = local_copy(source)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"source {source} is not a readable zip: {error}") from error
    members = [member for member in archive.infolist() if not member.is_dir()]
    marks = {member.filename: [member.filename, member.file_size, member.CRC] for member in members}
    return _image_files(source, channels, "zip", marks, partial(_fetch_member, archive, kept))


def class_folders(paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and the label of each path; ((), all -1) unless each lies exactly one folder deep.

    Folders around everything do not count, so an archive with one folder around its classes is fine.
    """
    folders = [PurePosixPath(path).parent.parts for path in paths]
    shared = len(_common_start(folders))
    below = [folder[shared:] for folder in folders]
    if not all(len(folder) == 1 for folder in below):
        return (), (-1,) * len(paths)
    names = sorted({folder[0] for folder in below})
    index = {name: label for label, name in enumerate(names)}
    return tuple(map(_printable, names)), tuple(index[folder[0]] for folder in below)


def _common_start(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    low, high = min(folders, default=()), max(folders, default=())
    return tuple(part for part, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False)))


def _image_files(
    source: str, channels: int, kind: str, marks: dict[str, list[Any]], fetch: Callable[[str], bytes]
) -> ImageFiles:
    """`marks` maps every path to what stands for its content in the fingerprint."""
    visible = sorted(path for path in marks if not _is_hidden(path))
    paths = tuple(path for path in visible if _may_be_image(path))
    names, labels = class_folders(paths)
    skipped = tuple((_printable(path), _REASON_SKIPPED) for path in visible if not _may_be_image(path))
    fingerprint = _digest([*marks[path], label] for path, label in zip(paths, labels, strict=True))
    return ImageFiles(source, channels, kind, paths, labels, names, skipped, fingerprint, fetch)


def _fetch_file(source: str, sizes: dict[str, int], path: str) -> bytes:
    _refuse_huge(sizes[path])
    try:
        return storage.read_bytes(storage.join(source, path))
    except FileNotFoundError:
        raise ImageRejectedError("the file has gone") from None
    except OSError as error:
        # On this machine it is the file's own fault; a store that fails would fail for every file.
        if not storage.is_local(source):
            raise
        raise ImageRejectedError(f"the file cannot be read: {error.strerror or 'permission denied'}") from error


def _fetch_member(archive: zipfile.ZipFile, kept: object, path: str) -> bytes:
    member = archive.getinfo(path)
    _refuse_huge(member.file_size)
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ImageRejectedError(f"damaged in the zip: {error}") from error
    except RuntimeError as error:  # encrypted, or packed by a method that is not supported
        raise ImageRejectedError(f"cannot be unpacked: {error}") from error


def _refuse_huge(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ImageRejectedError(f"the file has {size:,} bytes, more than {MAX_FILE_BYTES:,}")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part in _SYSTEM_FILES for part in PurePosixPath(path).parts)


def _may_be_image(path: str) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    return not suffix or suffix in _image_suffixes()


@cache
def _image_suffixes() -> frozenset[str]:
    Image.init()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _printable(name: str) -> str:
    """File names may hold bytes that are no UTF-8, which neither Parquet nor JSON can keep."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _digest(rows: Iterable[list[Any]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()
