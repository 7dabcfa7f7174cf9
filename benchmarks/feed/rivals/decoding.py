"""Decoders from image bytes to pixels that other libraries call: Pillow, imagecodecs, or raw pixels unchanged."""

import io
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from imagecodecs import jpeg8_decode, png_decode
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Decode = Callable[[bytes], Pixels]
Decoder = Literal["raw", "pillow", "imagecodecs"]

PNG = b"\x89PNG"


def decode(by: Decoder, side: int) -> Decode:
    """Decode bytes to writable uint8 [side, side, 3]. Only "pillow" shrinks larger images, by a box average."""
    return {"raw": partial(_raw, side), "pillow": partial(_pillow, side), "imagecodecs": _imagecodecs}[by]


def _raw(side: int, data: bytes) -> Pixels:
    return np.frombuffer(bytearray(data), np.uint8).reshape(side, side, 3)


def _pillow(side: int, data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        if image.width > side:
            image.draft("RGB", (side, side))  # a JPEG is unpacked at the smallest size that is large enough
        return np.array(image if image.width == side else image.reduce(image.width // side))


def _imagecodecs(data: bytes) -> Pixels:
    return png_decode(data) if data[:4] == PNG else jpeg8_decode(data)
