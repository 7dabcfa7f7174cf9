"""All access to storage: a local path, `s3://bucket/key` or any other fsspec URL.

Writes are verified by reading them back, operations wait for a store that does not answer (`patience`), and every
failure that a user can repair is reported in one sentence.
"""

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow.fs

from pipelines.storage.address import bucket_and_key, holds_credentials, is_local, is_s3, join, local_path, s3fs_options
from pipelines.storage.errors import (
    StorageDeniedError,
    StorageError,
    StorageNotFoundError,
    StorageUnreachableError,
    explained,
    is_taken,
    raise_if_bucket_missing,
)
from pipelines.storage.patience import patiently
from pipelines.storage.patient_s3 import s3_filesystem

RETRY_WAITS_S = (0.5, 2.0)
READ_BLOCK_BYTES = 16 * 2**20
SILENCE_S, SLOWEST_BYTES_PER_S = 30.0, 2**18
"""A write is cancelled and tried again after SILENCE_S seconds plus the time that its bytes take at
SLOWEST_BYTES_PER_S."""


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec filesystem of `url` and the path in it; no connection is opened.

    Calls of the filesystem neither wait for a store that does not answer nor translate errors: make them in a function
    decorated with `patiently`. Raises StorageError if `url` contains credentials or no filesystem fits it.
    """
    _refuse_credentials(url)
    if is_local(url):
        return fsspec.filesystem("file"), str(local_path(url))
    try:
        fs, path = fsspec.core.url_to_fs(url, **(s3fs_options() if is_s3(url) else {}))
    except (ImportError, ValueError) as error:
        raise StorageError(f"{url}: {error}; use a local path or s3://bucket/folder") from error
    if is_s3(url):
        fs.retries = 1  # s3fs retries on top of botocore: more would make a check of a hanging store take minutes
    return fs, path


def pyarrow_filesystem(url: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The pyarrow filesystem of `url` and the path in it; for Parquet, of which it reads only the requested columns.

    The filesystem itself waits for a store that does not answer, for about the `patience` at the time of this call.
    Raises StorageError if `url` contains credentials or no filesystem fits it.
    """
    _refuse_credentials(url)
    if is_local(url):
        return pyarrow.fs.LocalFileSystem(), str(local_path(url))
    if not is_s3(url):
        fs, path = open_filesystem(url)
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)), path
    return s3_filesystem(url), "/".join(bucket_and_key(url)).rstrip("/")


@patiently
def exists(url: str) -> bool:
    """Whether a file or folder exists; False if its bucket does not exist, or if it would lie under a file."""
    fs, path = open_filesystem(url)
    try:
        fs.info(path)
    except (FileNotFoundError, NotADirectoryError):  # a file in the place of its folder
        return False
    return True


@patiently
def size(url: str) -> int:
    """The size of one file in bytes."""
    fs, path = open_filesystem(url)
    return int(fs.info(path)["size"])


@patiently
def read_bytes(url: str) -> bytes:
    """The content of one file."""
    fs, path = open_filesystem(url)
    return fs.cat_file(path)


def read_json(url: str) -> Any:
    """The value in a JSON file; raises StorageError if the file is not valid JSON."""
    try:
        return json.loads(read_bytes(url))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"{url} is not valid JSON ({error}); it is damaged or another program wrote it") from error


@patiently
def sha256(url: str) -> str:
    """The SHA-256 of a file as a hexadecimal string; the file is read in blocks."""
    fs, path = open_filesystem(url)
    with fs.open(path, "rb", block_size=READ_BLOCK_BYTES) as file:
        return _digest(file)


@patiently
def list_dir(url: str) -> list[str]:
    """The sorted names directly in a folder; empty if the folder does not exist.

    Raises StorageNotFoundError if its bucket does not exist.
    """
    fs, path = open_filesystem(url)
    try:
        entries = fs.ls(path, detail=False)
    except FileNotFoundError:
        raise_if_bucket_missing(url)
        return []
    # A store may list the folder itself, as an empty marker object.
    return sorted(entry.rstrip("/").rpartition("/")[2] for entry in entries if entry.strip("/") != path.strip("/"))


@patiently
def list_files(url: str) -> dict[str, int]:
    """The size in bytes of every file below a folder, keyed and sorted by path relative to the folder.

    Empty if there is no file; raises StorageNotFoundError if the bucket does not exist.
    """
    fs, path = open_filesystem(url)
    found = fs.find(path, detail=True)
    if not found:
        raise_if_bucket_missing(url)
    root = path.rstrip("/") + "/"
    files = {
        name.removeprefix(root): int(info["size"] or 0)
        for name, info in found.items()
        if info["type"] == "file" and not name.endswith("/") and name != path
    }
    return dict(sorted(files.items()))


@patiently
def download(url: str, target: Path) -> None:
    """Copy one file to a local path."""
    fs, path = open_filesystem(url)
    fs.get_file(path, str(target))


def write_bytes_verified(url: str, data: bytes) -> str:
    """Write `data` so that the name holds all of it or nothing, read it back, and return its SHA-256 (hexadecimal).

    Tries three times, then raises RuntimeError naming `url`; raises StorageError at once if a retry cannot help.
    """
    digest = hashlib.sha256(data).hexdigest()
    if is_local(url):
        _retried(url, lambda: _write_local(local_path(url), digest, lambda file: file.write(data)))
    else:
        _retried(url, lambda: _put(url, len(data), digest, lambda fs, path, **limit: fs.pipe_file(path, data, **limit)))
    return digest


def write_json_verified(url: str, value: Any) -> str:
    """Write `value` as indented JSON by `write_bytes_verified`, and return its SHA-256."""
    return write_bytes_verified(url, (json.dumps(value, indent=2) + "\n").encode())


def write_once(url: str, data: bytes) -> None:
    """Write `data` unless the file exists; if several processes write at once, the first wins.

    At a store without conditional writes (If-None-Match) the last one wins. Raises as `write_bytes_verified`.
    """
    if not exists(url):
        _retried(url, lambda: _create(url, data))


def upload_verified(local: str | Path, url: str, digest: str | None = None) -> str:
    """Copy a local file to `url`, with the guarantees, return value and errors of `write_bytes_verified`.

    `digest` is the file's SHA-256 if it is known; the copy is compared with it.
    """
    local = Path(local)
    if digest is None:
        with local.open("rb") as file:
            digest = _digest(file)
    if is_local(url):
        _retried(url, lambda: _write_local(local_path(url), digest, lambda file: _copy(local, file)))
    else:
        length = local.stat().st_size
        _retried(
            url, lambda: _put(url, length, digest, lambda fs, path, **limit: fs.put_file(str(local), path, **limit))
        )
    return digest


@patiently
def delete_file(url: str) -> None:
    """Delete one file if it exists."""
    fs, path = open_filesystem(url)
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        raise_if_bucket_missing(url)


@patiently
def delete_tree(url: str) -> None:
    """Delete a folder and its content if it exists; raises StorageError for the root of a disk or bucket."""
    fs, path = open_filesystem(url)
    if not path.strip("/") or (is_s3(url) and not bucket_and_key(url)[1]):
        raise StorageError(f"{url} is the root of a disk or bucket and is not deleted; name a folder in it")
    try:
        fs.rm(path, recursive=True)
    except FileNotFoundError:
        raise_if_bucket_missing(url)


@patiently
def move_tree(url: str, target: str) -> None:
    """Move a folder to an address that is free, at the same store; the original is deleted once the copy is whole.

    Raises RuntimeError, and deletes nothing, if the copy is not whole.
    """
    if is_local(url):
        os.rename(local_path(url), local_path(target))
        return
    fs, path = open_filesystem(url)
    _, copy = open_filesystem(target)
    files = list_files(url)
    for name in files:
        fs.cp_file(f"{path.rstrip('/')}/{name}", f"{copy.rstrip('/')}/{name}")
    fs.invalidate_cache()
    if list_files(target) != files:
        raise RuntimeError(f"{target} does not hold all files of {url}, which stays as it is; try again")
    delete_tree(url)


@patiently
def check_writable(url: str) -> None:
    """Write, read and delete a small file in the folder `url`; raises StorageError with the reason of a failure."""
    probe = join(url, f".write-check-{uuid.uuid4().hex}")
    data = probe.encode()
    if is_local(url):
        _make_folder(url)
    fs, path = open_filesystem(probe)
    try:
        fs.pipe_file(path, data, **_limit(url, len(data)))
    except OSError as error:
        if error.errno == errno.ENOSPC:  # the error of a write that finds no space names no file
            raise OSError(error.errno, error.strerror, url) from error
        raise
    stored = fs.cat_file(path)
    fs.rm_file(path)
    if stored != data:
        raise StorageError(f"{url} returns other bytes than were written; check the object store")


def _make_folder(url: str) -> None:
    try:
        local_path(url).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"{url} is or lies under a file; name a folder") from error


def _refuse_credentials(url: str) -> None:
    # Addresses are stored in manifests, logs and MLflow.
    if holds_credentials(url):
        scheme = url.partition("://")[0]
        raise StorageError(
            f"the {scheme}:// address contains credentials; remove them and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY in the environment"
        )


def _retried(url: str, write: Callable[[], None]) -> None:
    tries = len(RETRY_WAITS_S) + 1
    for wait_s in (*RETRY_WAITS_S, None):
        try:
            with explained(url):
                return write()
        except (StorageDeniedError, StorageUnreachableError):
            raise
        except Exception as error:
            # "Not found" can also mean a multipart upload whose final answer was lost; that is tried again.
            if isinstance(error, StorageNotFoundError):
                raise_if_bucket_missing(url)
            if wait_s is None:
                raise RuntimeError(f"could not write {url} in {tries} attempts; the last error: {error}") from error
            time.sleep(wait_s)


def _write_local(path: Path, digest: str, fill: Callable[[BinaryIO], Any], once: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with partial.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        with partial.open("rb") as file:
            _require(path, _digest(file) == digest)
        (os.link if once else os.replace)(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@patiently
def _create(url: str, data: bytes) -> None:
    fs, path = open_filesystem(url)
    try:
        if is_local(url):
            _write_local(local_path(url), hashlib.sha256(data).hexdigest(), lambda file: file.write(data), once=True)
        else:
            fs.pipe_file(path, data, mode="create", **_limit(url, len(data)))
    except OSError as error:
        if not is_taken(error):
            raise


@patiently
def _put(url: str, length: int, digest: str, write: Callable[..., Any]) -> None:
    write(*open_filesystem(url), **_limit(url, length))
    try:
        same = size(url) == length and sha256(url) == digest
    except StorageNotFoundError:
        same = False
    _require(url, same)


def _limit(url: str, length: int) -> dict[str, float]:
    """A time limit as an argument of fsspec's writes; without it S3's wait for ever if the store accepts a connection
    and does not answer."""
    return {"timeout": SILENCE_S + length / SLOWEST_BYTES_PER_S} if is_s3(url) else {}


def _require(where: str | Path, same: bool) -> None:
    if not same:
        raise OSError(f"{where} reads back differently from what was written")


def _copy(source: Path, target: BinaryIO) -> None:
    with source.open("rb") as file:
        shutil.copyfileobj(file, target, READ_BLOCK_BYTES)


def _digest(file: Any) -> str:
    total = hashlib.sha256()
    while block := file.read(READ_BLOCK_BYTES):
        total.update(block)
    return total.hexdigest()


def modified(url: str) -> float:
    """The time of the last write of a file, in Unix seconds."""
    filesystem, path = open_filesystem(url)
    return filesystem.modified(path).timestamp()
