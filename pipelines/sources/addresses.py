"""Parsing the name of a source: patterns that stand for several files, and the names of columns."""

import re
from collections.abc import Iterator

from pipelines import storage
from pipelines.storage.errors import raise_if_bucket_missing

_NAMED = r"(?:image|label)=[^,#=]+"
_WITH_COLUMNS = re.compile(rf"(?P<address>.*)#(?P<columns>{_NAMED}(?:,{_NAMED})*)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def split_columns(source: str) -> tuple[str, dict[str, str]]:
    """Split `faces.parquet#image=photo,label=kind` into "faces.parquet" and {"image": "photo", "label": "kind"}."""
    match = _WITH_COLUMNS.fullmatch(source)
    if match is None:
        return source, {}
    return match["address"], dict(part.split("=", 1) for part in match["columns"].split(","))


def is_pattern(address: str) -> bool:
    """Whether `address` stands for several files: it has wildcards or braces and no file or folder has this name."""
    return re.search(r"[*?\[{]", address) is not None and not storage.exists(address)


def expanded(address: str) -> list[str]:
    """List the files of a pattern such as `faces-{000..009}.tar`, `{train,test}.parquet` or `*.tar`, in order.

    Raises StorageNotFoundError if a part with wildcards matches no file.
    """
    return [url for pattern in _without_braces(address) for url in _matches(pattern)]


def place(source: str, url: str) -> str:
    """The start of an error message about a file of a source."""
    return f"source {source}" if url == source else f"source {source}: {url}"


def _without_braces(pattern: str) -> Iterator[str]:
    braces = _BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    for choice in _choices(braces[1]):
        yield from _without_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _choices(inside: str) -> list[str]:
    span = _RANGE.fullmatch(inside)
    if span is None:
        return inside.split(",")
    return [f"{number:0{len(span[1])}d}" for number in range(int(span[1]), int(span[2]) + 1)]


def _matches(pattern: str) -> list[str]:
    if re.search(r"[*?\[]", pattern) is None:
        return [pattern]
    found = _files(pattern)
    if not found:
        raise_if_bucket_missing(pattern)
        raise storage.StorageNotFoundError(f"source {pattern} matches no file")
    return found


@storage.patiently
def _files(pattern: str) -> list[str]:
    fs, path = storage.open_filesystem(pattern)
    found = sorted(fs.glob(path))
    return found if storage.is_local(pattern) else [fs.unstrip_protocol(name) for name in found]
