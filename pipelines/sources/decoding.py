"""Decoding of one image to uint8 [H, W, C], and resizing to a square of the dataset's resolution.

EXIF orientation is applied, transparent pixels are composited on white, 16 bits become 8, and an animation is
represented by its first frame. Colour profiles are not applied.
"""

import io
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # Pillow's own limit: a small file that decodes to more is a decompression bomb
Square = Literal["shorter_side", "center_crop", "pad"]
Half = Literal["left", "right"]
Pixels = NDArray[np.uint8]
Payload = bytes | Pixels
"""An image as a source stores it: an encoded file's bytes, or pixels uint8 [H, W] or [H, W, 1|3|4]."""
FIRST_FRAME = "several frames or pages, of which the first is taken"
DAMAGED_EXIF = "damaged EXIF data, so that the orientation is not known"


class ImageRejectedError(ValueError):
    """An image that cannot be used; the message is the reason, without the image's name."""


def decode(payload: Payload, channels: int, notes: list[str] | None = None) -> Pixels:
    """Decode an image to uint8 [H, W, channels]; raises ImageRejectedError if that is impossible.

    A loss that does not justify rejecting the image, such as further frames, is appended to `notes` as one phrase.
    """
    notes = [] if notes is None else notes
    return _from_file(payload, channels, notes) if isinstance(payload, bytes) else _from_array(payload, channels)


def half_of(pixels: Pixels, half: Half) -> Pixels:
    """Cut one half out of an image: uint8 [H, W, C] -> [H, W / 2, C]; raises ImageRejectedError if W is odd."""
    width = pixels.shape[1]
    if width % 2:
        raise ImageRejectedError(f"its width of {width} px is odd, so it cannot hold two images side by side")
    return pixels[:, : width // 2] if half == "left" else pixels[:, width // 2 :]


def squared(pixels: Pixels, resolution: int, square: Square, window: int = 0, windows: int = 1) -> Pixels:
    """Make an image square without enlarging it: uint8 [H, W, C] -> [resolution, resolution, C].

    `shorter_side` shrinks the central square whose side is the shorter side. `center_crop` cuts the central pixels out
    at their own scale. Both raise ImageRejectedError if the shorter side is below `resolution`. If `windows` is above
    1, both use square number `window` of `windows` squares, spread evenly along the longer side. `pad` places the whole
    image at the centre of a black square with a side of at least `resolution` and shrinks that. Shrinking uses
    Lanczos resampling.
    """
    height, width, _ = pixels.shape
    if square == "pad":
        return _shrunk(_padded(pixels, max(height, width, resolution)), resolution)
    if min(height, width) < resolution:
        raise ImageRejectedError(f"too small: {width}x{height} px for resolution {resolution}")
    side = resolution if square == "center_crop" else min(height, width)
    return _shrunk(_cropped(pixels, side, window, windows), resolution)


@cache
def formats() -> tuple[str, ...]:
    """Names of the image formats that are read: all of Pillow's except EPS, for which Pillow would run Ghostscript."""
    Image.preinit()  # registers the common formats, so that they are tried first
    Image.init()
    return tuple(name for name in Image.OPEN if name != "EPS")


def _from_file(data: bytes, channels: int, notes: list[str]) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageRejectedError(f"{image.width}x{image.height} px is more than {MAX_PIXELS:,} pixels")
            if getattr(image, "is_animated", False):
                notes.append(FIRST_FRAME)
            image.load()
            return _flattened(_upright(image, notes), channels)
    except ImageRejectedError:
        raise
    except UnidentifiedImageError:
        raise ImageRejectedError("not an image that Pillow can read" if data else "the file is empty") from None
    except Image.DecompressionBombError:
        raise ImageRejectedError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # a damaged file can make a decoder raise any error
        raise ImageRejectedError(f"cannot be decoded: {error}") from error


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data can raise any error; the pixels are intact
        notes.append(DAMAGED_EXIF)
        return image


def _from_array(pixels: Pixels, channels: int) -> Pixels:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == channels:
        return pixels
    return _flattened(_to_pillow(pixels), channels)


def _flattened(image: Image.Image, channels: int) -> Pixels:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    if channels == 1 and image.mode in ("1", "L"):
        return _to_pixels(image.convert("L"))
    image = image.convert("RGB")
    return _to_pixels(image.convert("L") if channels == 1 else image)


def _to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ImageRejectedError(f"pixels of mode {image.mode} have no fixed range; store 8 or 16 bits per channel")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _cropped(pixels: Pixels, side: int, window: int, windows: int) -> Pixels:
    height, width, _ = pixels.shape
    top, left = (height - side) // 2, (width - side) // 2
    if windows > 1 and height > width:
        top = window * (height - side) // (windows - 1)
    elif windows > 1:
        left = window * (width - side) // (windows - 1)
    return pixels[top : top + side, left : left + side]


def _padded(pixels: Pixels, side: int) -> Pixels:
    height, width, channels = pixels.shape
    top, left = (side - height) // 2, (side - width) // 2
    canvas = np.zeros((side, side, channels), np.uint8)
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _shrunk(pixels: Pixels, resolution: int) -> Pixels:
    if len(pixels) == resolution:
        return pixels
    return _to_pixels(_to_pillow(pixels).resize((resolution, resolution), Image.Resampling.LANCZOS))


def _to_pillow(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def _to_pixels(image: Image.Image) -> Pixels:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
