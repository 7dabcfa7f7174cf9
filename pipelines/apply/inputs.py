"""Inputs of `alae translate`: files, folders, archives or URLs, each image with a unique name and a fitting size."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines import storage
from pipelines.sources import Source, open_source
from pipelines.sources.addresses import is_pattern
from pipelines.sources.decoding import ImageRejectedError, Pixels
from pipelines.sources.files import open_folder
from pipelines.sources.listing import image_suffixes

MOST_PIXELS = 2048 * 2048
"""Most pixels of an image without `size`; a larger one would need tens of GB at full width."""


@dataclass(frozen=True)
class Input:
    """One image of a source."""

    source: Source
    row: int
    stem: str
    """Unique beginning of the names of its files."""

    @property
    def name(self) -> str:
        """Name in messages."""
        return str(self.source.index["id"][self.row])

    def load(self) -> Pixels:
        """Return the pixels, uint8 [H, W, C]; raises ImageRejectedError if they cannot be read."""
        return self.source.load(self.row)


def opened(addresses: Sequence[str], channels: int, notes: list[str] | None = None) -> list[Input]:
    """Open all images at the addresses, in order; raises ValueError if an address is missing or has no images.

    Appends a sentence to `notes` for each file whose name is not that of an image.
    """
    inputs: list[Input] = []
    stems: set[str] = set()
    for address in addresses:
        source = _source(address, channels)
        if notes is not None:
            notes += [f"{name}: {reason}" for name, reason in source.skipped]
        for row, name in enumerate(source.index["id"].to_pylist()):
            stem = _unused(posixpath.splitext(name)[0].replace("/", "_"), stems)
            stems.add(stem)
            inputs.append(Input(source, row, stem))
    return inputs


def folders(addresses: Sequence[str]) -> set[str]:
    """Return the folders of the images at the addresses."""
    return {_absolute(posixpath.dirname(address) if _is_image(address) else address) for address in addresses}


def lies_in(out: str, places: set[str]) -> bool:
    """Whether `out` is one of the folders `places`."""
    return _absolute(out) in places


def fitted(pixels: Pixels, step: int, *, size: int | None = None, side: int | None = None) -> Pixels:
    """Crop the centre of an image uint8 [H, W, C] so that both sides are multiples of `step`, or to a square of `side`.

    If `size` is given, the shorter side is resized to it first. Raises ImageRejectedError for an image that is too small or
    too large.
    """
    if size is None and pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
        raise ImageRejectedError(f"too large: {_told(pixels)} is more than {MOST_PIXELS:,} pixels; give a size")
    if size is not None:
        pixels = _resized(pixels, size)
    height, width = (side, side) if side else (pixels.shape[0] // step * step, pixels.shape[1] // step * step)
    least = side or 2 * step
    if min(pixels.shape[:2]) < least:
        raise ImageRejectedError(f"too small: {_told(pixels)}, the networks need sides of {least} px or more")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _source(address: str, channels: int) -> Source:
    if not _is_image(address):
        return open_source(address, channels)
    folder, name = posixpath.split(address)
    try:
        return open_folder(address, folder or ".", {name: storage.size(address)}, channels)
    except FileNotFoundError:
        raise ValueError(
            f"{address} does not exist; give images, folders of images, or other sources that alae pack reads"
        ) from None


def _is_image(address: str) -> bool:
    return posixpath.splitext(address)[1].lower() in image_suffixes() and not is_pattern(address)


def _unused(stem: str, used: set[str]) -> str:
    number = 1
    found = stem
    while found in used:
        number += 1
        found = f"{stem}-{number}"
    return found


def _absolute(address: str) -> str:
    return str(storage.local_path(address or ".").resolve()) if storage.is_local(address) else address.rstrip("/")


def _resized(pixels: Pixels, size: int) -> Pixels:
    height, width, channels = pixels.shape
    scale = size / min(height, width)
    sides = (round(width * scale), round(height * scale))
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels))
    return np.asarray(image.resize(sides, Image.Resampling.LANCZOS)).reshape(sides[1], sides[0], channels)


def _told(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} px"
