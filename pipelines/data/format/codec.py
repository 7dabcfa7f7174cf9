"""Encodes single images as the values of a column and decodes many of them at once into one array.

The PNG files are valid for any reader but all have the same form: a single IDAT chunk, and each row stored as its
difference from the row above (filter "up"). Therefore many can be decoded together: libdeflate decompresses each, and
numpy adds the rows of all of them at once.
"""

import struct
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
from imagecodecs import DeflateError, Jpeg8Error, deflate_decode, deflate_encode, jpeg8_decode, jpeg8_encode
from numpy.typing import NDArray

from pipelines.sources.decoding import Pixels

Encoding = Literal["raw", "png", "jpeg"]
Rows = NDArray[np.int64]
Stored = NDArray[np.uint8] | Sequence[memoryview]
"""The values of a column: uint8 [values, bytes] if all have the same size, otherwise a sequence with the bytes of
each."""

JPEG_QUALITY = 95
_DEFLATE_LEVEL = 6
_UP = 2
_END_OF_JPEG = b"\xff\xd9"
_LARGE_BYTES = 8192  # images of at least this size are copied one by one, which saves an intermediate copy by numpy
_TOGETHER_BYTES = 8 * 2**20  # pixels of PNGs decoded at a time: few calls of numpy, and little memory


class DamagedImageError(ValueError):
    """Bytes that `encode` did not write or that have changed since; the message names the row."""


def encode(pixels: Pixels, encoding: Encoding) -> bytes:
    """Encode an image uint8 [R, R, 1|3] as raw bytes, PNG, or JPEG (quality 95, 4:4:4, lossy).

    Equal pixels give equal bytes.
    """
    if encoding == "raw":
        return pixels.tobytes()
    if encoding == "png":
        return _png(pixels)
    plane = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return bytes(jpeg8_encode(np.ascontiguousarray(plane), level=JPEG_QUALITY, subsampling="444"))


def decode_many(column: pa.Array, rows: Rows, resolution: int, channels: int, encoding: Encoding) -> Pixels:
    """Decode the images at `rows` of a column to uint8 [len(rows), R, R, C]; raises DamagedImageError."""
    images = np.empty((len(rows), resolution, resolution, channels), np.uint8)
    decode_into(images, np.arange(len(rows)), values(column), rows, encoding)
    return images


def values(column: pa.Array) -> Stored:
    """The values of a column without nulls, as views of its memory."""
    data = column.buffers()[-1]
    if pa.types.is_fixed_size_binary(column.type):
        whole = np.frombuffer(data, np.uint8).reshape(-1, column.type.byte_width)
        return whole[column.offset : column.offset + len(column)]
    width = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    ends = np.frombuffer(column.buffers()[1], width)[column.offset : column.offset + len(column) + 1].tolist()
    view = memoryview(data).cast("B")
    return [view[start:stop] for start, stop in pairwise(ends)]


def decode_into(images: Pixels, places: Rows, stored: Stored, rows: Rows, encoding: Encoding) -> None:
    """Set `images[places[k]]` to the image at `rows[k]` of `stored`, for every k.

    `images` is uint8 [N, R, R, C], contiguous. Raises DamagedImageError. Several threads may fill different places of
    one array; they block each other little.
    """
    if encoding == "raw":
        _copy(images.reshape(len(images), -1), places, np.asarray(stored), rows)
    elif encoding == "png":
        _decode_pngs(images, places, stored, rows)
    else:
        _decode_jpegs(images, places, stored, rows)


def _copy(images: Pixels, places: Rows, stored: Pixels, rows: Rows) -> None:
    """Copy raw images; both arrays are uint8 [N, bytes]."""
    if images.shape[1] != stored.shape[1]:
        raise DamagedImageError(f"the images have {stored.shape[1]} bytes instead of {images.shape[1]}")
    if images.shape[1] < _LARGE_BYTES:
        images[places] = stored[rows]
    else:
        for place, row in zip(places.tolist(), rows.tolist(), strict=True):
            images[place] = stored[row]


def _png(pixels: Pixels) -> bytes:
    rows = pixels.reshape(len(pixels), -1)
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    data = bytes(deflate_encode(filtered.tobytes(), level=_DEFLATE_LEVEL))
    return _png_head(pixels.shape) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


@cache
def _png_head(shape: tuple[int, ...]) -> bytes:
    """The signature and IHDR chunk of an image [H, W, 1|3]."""
    height, width, channels = shape
    colour = 0 if channels == 1 else 2
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _decode_pngs(images: Pixels, places: Rows, stored: Stored, rows: Rows) -> None:
    _, height, width, channels = images.shape
    together = max(1, min(len(rows), _TOGETHER_BYTES // (height * width * channels)))
    unpacked = np.empty((together, height, 1 + width * channels), np.uint8)
    for first in range(0, len(rows), together):
        part = rows[first : first + together].tolist()
        for filtered, row in zip(unpacked, part, strict=False):
            _inflate(stored[row], filtered, row, images.shape[1:])
        pixels = unpacked[: len(part), :, 1:]
        for y in range(1, height):
            np.add(pixels[:, y - 1], pixels[:, y], out=pixels[:, y])
        images[places[first : first + together]] = pixels.reshape(-1, height, width, channels)


def _inflate(png: memoryview, filtered: Pixels, row: int, shape: tuple[int, ...]) -> None:
    """Set `filtered`, uint8 [H, 1 + W * C], to the rows of a PNG, each preceded by the number of its filter."""
    data = len(_png_head(shape))
    if png[:data] != _png_head(shape) or png[data + 4 : data + 8] != b"IDAT":
        raise DamagedImageError(f"row {row} does not begin as a PNG of {shape[1]}x{shape[0]} px")
    flat = filtered.reshape(-1)
    try:
        whole = len(deflate_decode(png[data + 8 : -16], out=flat)) == len(flat)  # type: ignore[arg-type]
    except DeflateError as error:
        raise DamagedImageError(f"row {row} is a damaged PNG ({error})") from error
    if not whole or (filtered[:, 0] != _UP).any():
        raise DamagedImageError(f"row {row} is a PNG with missing rows or another filter")


def _decode_jpegs(images: Pixels, places: Rows, stored: Stored, rows: Rows) -> None:
    for place, row in zip(places.tolist(), rows.tolist(), strict=True):
        jpeg, image = stored[row], images[place]
        try:
            jpeg8_decode(jpeg, out=image[:, :, 0] if image.shape[2] == 1 else image)  # type: ignore[arg-type]
        except (Jpeg8Error, ValueError) as error:
            raise DamagedImageError(f"row {row} is a damaged JPEG ({error})") from error
        if jpeg[-2:] != _END_OF_JPEG:  # the decoder fills missing parts with gray and raises nothing
            raise DamagedImageError(f"row {row} is a JPEG without its end")
