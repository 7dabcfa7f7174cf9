"""Image sources on this machine or in an object store: folders, archives, tables, records and datasets.

A source consists of an index of named, labelled images and a reader that fetches one image at a time, so that a broken
image does not affect the others.
"""

import posixpath
from collections.abc import Mapping, Sequence

from pipelines import storage
from pipelines.sources.addresses import expanded, is_pattern, split_columns
from pipelines.sources.arrays import open_digits, open_npz
from pipelines.sources.files import open_folder
from pipelines.sources.key_values import DATA, open_lmdb
from pipelines.sources.listing import image_suffixes, is_hidden
from pipelines.sources.source import CHUNKS_AT_ONCE, Reader, Source
from pipelines.sources.tables import open_tables
from pipelines.sources.tars import COMPRESSED, open_tars
from pipelines.sources.tfrecords import is_tfrecord, open_tfrecords
from pipelines.sources.torchvision_datasets import PREFIX, open_torchvision
from pipelines.sources.zips import open_zip

__all__ = ["CHUNKS_AT_ONCE", "DIGITS", "Reader", "Source", "open_source"]

DIGITS = "mnist5k"
_KNOWN = f"a folder of images or an LMDB, .tar, .parquet or .tfrecords files, a .zip or .npz, {PREFIX}NAME or {DIGITS}"
_ENDINGS = {".zip": "zip", ".npz": "npz", ".parquet": "Parquet"} | dict.fromkeys((".tar", *COMPRESSED), "tar")


def open_source(source: str, channels: int | None = None) -> Source:
    """Open a source by its path, URL or name (docs/data.md).

    `channels` is 1 or 3; the default is 1 for arrays of one channel and 3 for everything else. Raises
    StorageNotFoundError if the source is missing, and ValueError if it is empty or of an unknown kind.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels} is not possible; use 1 (grayscale) or 3 (colour)")
    try:
        opened = _open(source, channels)
    except FileNotFoundError as error:
        raise type(error)(f"{error}; a source is {_KNOWN}") from error
    if len(opened) == 0:
        skipped = opened.skipped
        others = f"; it holds {len(skipped)} other files, for example {skipped[0][0]!r}" if skipped else ""
        raise ValueError(f"source {source} holds no images{others}; a source is {_KNOWN}")
    return opened


def _open(source: str, channels: int | None) -> Source:
    if source == DIGITS:
        return open_digits(source, channels)
    if source.startswith(PREFIX):
        return open_torchvision(source, channels)
    address, named = split_columns(source)
    if is_pattern(address):
        return _open_files(source, expanded(address), channels, named)
    if sizes := storage.list_files(address):
        return _open_folder(source, address, sizes, channels, named)
    if _kind(address):
        return _open_files(source, [address], channels, named)
    return _open_other(source, address, channels)


def _open_folder(
    source: str, address: str, sizes: Mapping[str, int], channels: int | None, named: Mapping[str, str]
) -> Source:
    """Open a folder: its image files if it has any, otherwise its LMDB or its archives, tables or records."""
    visible = [path for path in sizes if not is_hidden(path)]
    images = any(posixpath.splitext(path)[1].lower() in image_suffixes() for path in visible)
    databases = [path for path in visible if posixpath.basename(path) == DATA]
    files = [path for path in visible if _kind(path) in ("tar", "Parquet", "TFRecord")]
    if files and not images and not databases:
        return _open_files(source, [storage.join(address, path) for path in files], channels, named)
    _refuse_columns(source, named)
    if databases and not images:
        return _open_database(source, address, databases, channels)
    return open_folder(source, address, sizes, channels or 3)


def _open_database(source: str, address: str, databases: Sequence[str], channels: int | None) -> Source:
    folders = [posixpath.dirname(storage.join(address, path)) for path in databases]
    if len(folders) > 1:
        raise ValueError(f"source {source} holds {len(folders)} LMDBs; name one of {', '.join(folders)}")
    return open_lmdb(source, folders[0], channels or 3)


def _open_files(source: str, urls: Sequence[str], channels: int | None, named: Mapping[str, str]) -> Source:
    kinds = sorted({_kind(url) or "other" for url in urls})
    if len(kinds) > 1:
        raise ValueError(f"source {source} holds files of several kinds ({', '.join(kinds)}); name those of one kind")
    if kinds[0] not in ("Parquet", "npz"):
        _refuse_columns(source, named)
    match kinds[0]:
        case "tar":
            return open_tars(source, urls, channels or 3)
        case "Parquet":
            return open_tables(source, urls, channels or 3, named)
        case "TFRecord":
            return open_tfrecords(source, urls, channels)
    if len(urls) > 1:
        raise ValueError(
            f"source {source} is {len(urls)} files; only .tar, .parquet and .tfrecords files are read together"
        )
    match kinds[0]:
        case "zip":
            return open_zip(source, urls[0], channels or 3)
        case "npz":
            return open_npz(source, urls[0], channels, named)
    raise ValueError(f"source {source} is a single file of no known kind; a source is {_KNOWN}")


def _open_other(source: str, address: str, channels: int | None) -> Source:
    """Open a prefix of TFRecords or an empty folder; anything else raises."""
    try:
        return open_tfrecords(source, expanded(f"{address}-r*.tfrecord*"), channels)
    except storage.StorageNotFoundError:
        pass
    if not storage.exists(address):
        raise storage.StorageNotFoundError(f"source {source} does not exist")
    if storage.is_local(address) and storage.local_path(address).is_dir():
        return open_folder(source, address, {}, channels or 3)
    raise ValueError(f"source {source} is a single file of no known kind; a source is {_KNOWN}")


def _refuse_columns(source: str, named: Mapping[str, str]) -> None:
    if named:
        raise ValueError(f"source {source}: only .parquet and .npz files have columns to name; leave '#...' out")


def _kind(path: str) -> str | None:
    """The kind of archive, table or record that a file's name stands for; None for an image or anything else."""
    if is_tfrecord(path):
        return "TFRecord"
    return next((kind for ending, kind in _ENDINGS.items() if path.lower().endswith(ending)), None)
