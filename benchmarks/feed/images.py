"""Makes many images from a few photographs and writes them as image files, whose bytes all formats share.

Image n is one photograph, perhaps mirrored, shifted by up to an eighth with reflected borders, and recoloured; n determines all
choices. The smaller sizes are exact box averages of it.
"""

import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.data.format.codec import Encoding, encode
from pipelines.data.format.pyramid import pyramid
from pipelines.sources.decoding import Pixels

SIDE = 256
SMALL = (64, 16)
TINT = 20
SUFFIXES = (".jpg", ".jpeg", ".png")
THREADS = 2


def photographs(archive: Path) -> Pixels:
    """Images of a zip, uint8 [P, 256, 256, 3]; raises ValueError if one has another size."""
    found = []
    with zipfile.ZipFile(archive) as stored:
        for name in sorted(stored.namelist()):
            if name.lower().endswith(SUFFIXES):
                with Image.open(io.BytesIO(stored.read(name))) as image:
                    if image.size != (SIDE, SIDE):
                        raise ValueError(f"{archive}: {name} is {image.size}; the benchmark needs {SIDE}x{SIDE} px")
                    found.append(np.asarray(image.convert("RGB")))
    if not found:
        raise ValueError(f"{archive} holds no image files ({', '.join(SUFFIXES)})")
    return np.stack(found)


def variation(photos: Pixels, number: int) -> Pixels:
    """Image `number`, uint8 [256, 256, 3]."""
    draw = np.random.default_rng(number)
    photo = photos[number % len(photos)]
    margin = SIDE // 8
    wide = np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    top, left = draw.integers(0, 2 * margin + 1, 2)
    shifted = wide[top : top + SIDE, left : left + SIDE]
    if draw.integers(2):
        shifted = shifted[:, ::-1]
    tint = draw.integers(-TINT, TINT + 1, 3, np.int16)
    return np.clip(shifted + tint, 0, 255).astype(np.uint8)


def write_files(photos: Pixels, folder: Path, large: int, small: int) -> None:
    """Write `large` images to png256 and jpeg256, and `small` images to png64 and png16; the first ones are the same."""
    wanted: list[tuple[int, Encoding]] = [(SIDE, "png"), (SIDE, "jpeg"), *((side, "png") for side in SMALL)]
    for side, encoding in wanted:
        (folder / f"{encoding}{side}").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(THREADS) as threads:
        write = partial(_write, photos, folder, large, small)
        for _ in threads.map(write, range(max(large, small))):
            pass


def _write(photos: Pixels, folder: Path, large: int, small: int, number: int) -> None:
    for path, data in _encoded(variation(photos, number), number < large, number < small):
        (folder / path.format(number)).write_bytes(data)


def _encoded(image: Pixels, large: bool, small: bool) -> Iterator[tuple[str, bytes]]:
    if large:
        yield "png256/{:06d}.png", encode(image, "png")
        yield "jpeg256/{:06d}.jpg", encode(image, "jpeg")
    if small:
        levels = pyramid(image[None])
        for side in SMALL:
            yield f"png{side}/{{:06d}}.png", encode(levels[side][0], "png")
