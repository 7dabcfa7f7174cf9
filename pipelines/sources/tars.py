"""Images in plain tars and in WebDataset tars; an uncompressed tar is read by ranges without copying it.

A WebDataset sample consists of neighbouring files whose paths agree up to the first dot of the name: an image and,
optionally, `.cls` (its label), `.json` (attributes) and `.txt` (an attribute `txt`).
"""

import gzip
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa

from pipelines.sources.addresses import place
from pipelines.sources.chunks import SPAN, Span, SpanReader, chunked
from pipelines.sources.columns import from_rows
from pipelines.sources.copies import decompressed
from pipelines.sources.listing import Member, below_shared_folder, image_files, image_suffixes, printable
from pipelines.sources.metadata import FILE_NAME, LABEL, is_metadata
from pipelines.sources.ranges import opened
from pipelines.sources.source import Source

COMPRESSED = (".tar.gz", ".tgz")
_TAIL_BYTES = 64 * 2**10
_END = b"\0" * tarfile.BLOCKSIZE


class _Entry(NamedTuple):
    path: str
    span: Span
    beside: Any = None  # the label or attributes in a `.cls`, `.json` or `.txt` file; None for any other file

    @property
    def sample(self) -> str:
        folder, _, name = self.path.rpartition("/")
        return f"{folder}/{name.partition('.')[0]}"

    @property
    def is_image(self) -> bool:
        return posixpath.splitext(self.path)[1].lower() in image_suffixes()


class _Tar(NamedTuple):
    members: list[Member]
    rows: list[dict[str, Any]]
    skipped: list[tuple[str, str]]


def open_tars(source: str, urls: Sequence[str], channels: int) -> Source:
    """Open all image files in one or several tars by reading their headers; a compressed tar is unpacked to a copy.

    Raises ValueError if a tar is damaged or incomplete.
    """
    names = below_shared_folder(urls) if len(urls) > 1 else [""]
    members: list[Member] = []
    tables: list[tuple[str, pa.Table]] = []
    skipped: list[tuple[str, str]] = []
    for number, (url, name) in enumerate(zip(urls, names, strict=True)):
        tar = _read(source, url, number, name)
        members += tar.members
        skipped += tar.skipped
        if tar.rows:
            tables.append(("files beside images", from_rows(tar.rows, f"source {source}")))
    reader = SpanReader(tuple(urls), where=_where)
    kind = "tar" if len(urls) == 1 else f"{len(urls)} tars"
    found = image_files(source, kind, channels, members, SPAN, reader, tables)
    return chunked(replace(found, skipped=(*found.skipped, *skipped)), reader)


def _where(url: str) -> str:
    return decompressed(url) if url.lower().endswith(COMPRESSED) else url


def _read(source: str, url: str, number: int, archive: str) -> _Tar:
    tar = _Tar([], [], [])
    try:
        with opened(_where(url)) as file:
            for _, sample in groupby(_entries(file, number, tar), key=lambda entry: entry.sample):
                _add_sample(tar, list(sample), archive)
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        UnicodeDecodeError,
        json.JSONDecodeError,
    ) as error:
        raise ValueError(f"{place(source, url)} is not a complete, readable tar: {error}; get it again") from error
    return tar


def _entries(file: Any, number: int, tar: _Tar) -> Iterator[_Entry]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while info := archive.next():
            archive.members.clear()  # type: ignore[attr-defined]  # each member would occupy a kilobyte
            path = posixpath.normpath(info.name)
            if info.isreg() and not info.issparse():
                span = Span(number, info.offset_data, info.offset_data + info.size)
                yield _Entry(path, span, _said(file, path, span))
            elif not info.isdir():
                tar.skipped.append((printable(path), "skipped: a link or other special file in the tar"))
        _check_end(file, archive.offset)


def _said(file: Any, path: str, span: Span) -> dict[str, Any] | None:
    parse = _BESIDE.get(posixpath.basename(path).partition(".")[2])
    if parse is None or is_metadata(path):
        return None
    file.seek(span.start)
    return parse(file.read(span.stop - span.start))


def _check_end(file: Any, offset: int) -> None:
    # tarfile treats a damaged header as the end, and stops at the first end mark of tars that were joined together.
    file.seek(offset)
    tail = file.read(_TAIL_BYTES)
    if not tail.startswith(_END):
        raise tarfile.ReadError(f"no header and no end mark at byte {offset:,}")
    if tail.strip(b"\0"):
        raise tarfile.ReadError(f"it continues after its end mark at byte {offset:,}, as tars joined together do")


def _add_sample(tar: _Tar, entries: list[_Entry], archive: str) -> None:
    images = sorted((entry for entry in entries if entry.is_image), key=lambda entry: entry.path.count("."))
    said = [entry.beside for entry in entries if entry.beside is not None]
    for entry in entries:
        member = Member(entry.path, entry.span.stop - entry.span.start, entry.span, archive)
        if said and entry in images[1:]:
            tar.skipped.append((member.name, f"skipped: the image of its sample is {printable(images[0].path)}"))
        elif entry.beside is None or not images:
            tar.members.append(member)
    if said and images:
        name = Member(images[0].path, 0, None, archive).name
        tar.rows.append({key: value for values in said for key, value in values.items()} | {FILE_NAME: name})


def _json(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    return found if isinstance(found, dict) else {"json": found}


def _cls(data: bytes) -> dict[str, Any]:
    text = data.decode().strip()
    return {LABEL: int(text) if text.lstrip("-").isdecimal() else text}


_BESIDE: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "cls": _cls,
    "json": _json,
    "txt": lambda data: {"txt": data.decode()},
}
