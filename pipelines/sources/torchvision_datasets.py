"""Any image dataset of torchvision, named as in `torchvision:CIFAR10?root=PATH&train=true`.

Its files must exist already, unless the argument `download=true` fetches them.
"""

import difflib
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alae_core.torchvision_import import torchvision
from pipelines.sources.columns import NO_ATTRIBUTES, scalars
from pipelines.sources.decoding import ImageRejectedError, Pixels
from pipelines.sources.source import Source, make_source

PREFIX = "torchvision:"
_LABEL_LISTS = ("targets", "labels", "_labels", "y")
_IMAGES_IN_FINGERPRINT = 64
_CONSTANTS = {"true": True, "false": False}
_lock = threading.Lock()  # datasets need not be safe for threads


@dataclass(frozen=True)
class DatasetReader:
    """Reads items of a dataset; the key is the item's index. Each process builds the dataset once."""

    source: str

    def fetch(self, key: int) -> Pixels:
        """The pixels of one image; raises ImageRejectedError if the dataset cannot read it."""
        try:
            with _lock:
                return _pixels(_dataset(self.source)[key][0])
        except (OSError, SyntaxError) as error:  # a missing or damaged file; Pillow raises SyntaxError too
            raise ImageRejectedError(f"the dataset cannot read it: {error}") from error


def open_torchvision(source: str, channels: int | None) -> Source:
    """Open a dataset class of torchvision; its arguments follow the question mark in `source`.

    An integer target becomes the label. A vector of targets, one for each of the dataset's `attr_names`, becomes the
    attributes. Raises ValueError if the dataset is unknown, cannot be opened or holds no images.
    """
    dataset = _dataset(source)
    rows = len(dataset)
    image, target = _first_item(source, dataset) if rows else (None, None)
    labels = _labels(dataset, target) if _is_label(target) else None
    reader = DatasetReader(source)
    names = tuple(name if isinstance(name, str) else ", ".join(name) for name in getattr(dataset, "classes", ()))
    return make_source(
        source,
        "torchvision dataset",
        channels or (1 if getattr(image, "mode", "") in ("1", "L") else 3),
        reader,
        keys=pa.array(range(rows), pa.int64()),
        labels=labels,
        label_names=names if labels is not None and labels.max(initial=-1) < len(names) else (),
        attributes=_attributes(source, dataset, target),
        content=[_content(dataset, reader)],
    )


@cache
def _dataset(source: str) -> Any:
    name, _, query = source.removeprefix(PREFIX).partition("?")
    try:
        datasets = torchvision().datasets
    except ImportError as error:
        raise ValueError(f"source {source} needs the package torchvision: pip install torchvision") from error
    if name not in datasets.__all__:
        near = difflib.get_close_matches(name, datasets.__all__, 3) or sorted(datasets.__all__)
        raise ValueError(f"source {source}: torchvision has no dataset {name!r}; it has {', '.join(near)}")
    arguments = dict(part.partition("=")[::2] for part in query.split("&") if part)
    try:
        return getattr(datasets, name)(**{key: _value(text) for key, text in arguments.items()})
    except (RuntimeError, OSError, TypeError, ValueError, ImportError) as error:
        raise ValueError(
            f"source {source} cannot be opened: {error}; root=FOLDER names the folder of its files, download=true "
            "fetches them"
        ) from error


def _value(text: str) -> Any:
    return _CONSTANTS.get(text.lower(), int(text) if text.isdecimal() else text)


def _first_item(source: str, dataset: Any) -> tuple[Any, Any]:
    try:
        item = dataset[0]
    except (OSError, SyntaxError) as error:
        raise ValueError(f"source {source}: its first image cannot be read: {error}; repair its files") from error
    if isinstance(item, tuple) and len(item) == 2 and hasattr(item[0], "convert"):
        return item
    raise ValueError(f"source {source}: its items are not pairs of an image and a target; only image datasets are read")


def _pixels(image: Any) -> Pixels:
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("L" if image.mode == "1" else "RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image)


def _is_label(target: Any) -> bool:
    return isinstance(target, int | np.integer) or getattr(target, "shape", None) == ()


def _labels(dataset: Any, first: Any) -> NDArray[np.int64]:
    for name in _LABEL_LISTS:
        labels = np.asarray(getattr(dataset, name, ()))
        # The list must agree with the items: a transform of the targets may change those.
        if labels.shape == (len(dataset),) and labels.dtype.kind in "iu" and labels[0] == first:
            return labels.astype(np.int64)
    return np.array([int(dataset[row][1]) for row in range(len(dataset))], np.int64)


def _attributes(source: str, dataset: Any, first: Any) -> pa.Table:
    names = getattr(dataset, "attr_names", ())
    values = np.asarray(getattr(dataset, "attr", ()))
    if getattr(first, "ndim", 0) != 1 or values.shape != (len(dataset), len(first)) or len(names) < len(first):
        return NO_ATTRIBUTES
    values = values.astype(bool) if np.isin(values, (0, 1)).all() else values
    return scalars(pa.table({name: pa.array(values[:, at]) for at, name in enumerate(names[: len(first)])}), source)


def _content(dataset: Any, reader: DatasetReader) -> bytes:
    """All pixels of a dataset that is held in memory, otherwise those of about 64 of its images."""
    data = getattr(dataset, "data", None)
    if getattr(data, "shape", (0,))[0] == len(dataset):
        return np.ascontiguousarray(data).tobytes()
    step = max(1, len(dataset) // _IMAGES_IN_FINGERPRINT)
    return b"".join(_bytes(reader, row) for row in range(0, len(dataset), step))


def _bytes(reader: DatasetReader, row: int) -> bytes:
    try:
        return reader.fetch(row).tobytes()
    except ImageRejectedError:
        return b""
