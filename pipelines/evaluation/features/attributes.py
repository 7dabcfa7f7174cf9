"""A classifier of a dataset's binary attributes: one network with a logit for each, trained once and kept with the dataset."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from alae_core.images import to_float
from alae_core.metrics.classifier import FEATURES, SMALLEST_SIDE, train_attributes
from pipelines.data.format.shards import Dataset, Rows
from pipelines.evaluation.features import extractors
from pipelines.evaluation.features.extractor import Extractor
from pipelines.sources.decoding import Pixels
from pipelines.storage import exists

EPOCHS = 8
KINDS = ("bool", "int64")
"""Types of attributes that may be binary."""

Values = tuple[int, int]
"""What stands for 0 and for 1."""


@dataclass(frozen=True)
class Attributes:
    """Binary attributes, and the network that tells them of images."""

    values: Mapping[str, Values]
    """The attributes in the order of the network's logits; of a bool 0 and 1."""
    accuracies: Mapping[str, float | None]
    """Share of held-out images whose value is told correctly; None where none has a value."""
    extractor: Extractor
    """Its `classes` are each attribute's probability to have its second value, float64 [N, K]."""

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return tuple(self.values)


def ensure_attributes(dataset: Dataset) -> Attributes:
    """The dataset's attributes, whose classifier is trained and stored with it if it is not there.

    Raises ValueError if there are none with two values, or images too small for a classifier.
    """
    check(dataset)
    name = f"attributes_r{dataset.resolution}_{extractors.content(dataset)}.json"
    path = extractors.stored(dataset, name)
    if not exists(path):
        _train(dataset, path)
    return _load(dataset, path)


def check(dataset: Dataset) -> None:
    """Raise ValueError with the way out where it is plain that there is no attribute to classify."""
    if not set(dataset.manifest.attributes.values()) & set(KINDS):
        raise ValueError(
            f"{dataset.url} has no attributes of type {' or '.join(KINDS)} to classify; pack the images with a table of them"
        )
    if dataset.resolution < SMALLEST_SIDE:
        raise ValueError(
            f"{dataset.url} has images of {dataset.resolution} px, a classifier of attributes needs {SMALLEST_SIDE} or more; "
            "pack them at a finer resolution"
        )


def binary_values(dataset: Dataset) -> dict[str, Values]:
    """The bool and int64 attributes that take exactly two values among the training rows, the smaller one first."""
    rows = extractors.training_rows(dataset, "train")
    found = {}
    for name, kind in dataset.manifest.attributes.items():
        if kind in KINDS:
            values = sorted({value for value in dataset.split("train").attribute(name, rows) if value is not None})
            if len(values) == 2:
                found[name] = (int(values[0]), int(values[1]))
    return found


def binary_labels(dataset: Dataset, split: str, values: Mapping[str, Values], rows: Rows) -> NDArray[np.int64]:
    """[len(rows), K]: which of its two values each attribute has, 0 or 1, and -1 where it has neither."""
    columns = []
    for name, pair in values.items():
        places = {None: -1, pair[0]: 0, pair[1]: 1}
        columns.append([places.get(value, -1) for value in dataset.split(split).attribute(name, rows)])
    return np.array(columns, np.int64).T


@torch.enable_grad()
def _train(dataset: Dataset, path: str) -> None:
    values = binary_values(dataset)
    if not values:
        raise ValueError(
            f"none of the attributes of {dataset.url} has exactly two values: {', '.join(dataset.manifest.attributes)}; "
            "pack the images with attributes of type bool"
        )
    images, labels = _labelled(dataset, "train", values)
    held_out = _labelled(dataset, "validation", values) if "validation" in dataset.manifest.splits else None
    if held_out is not None and not len(held_out[1]):
        held_out = None
    trained = train_attributes(images, labels, seed=extractors.SEED, validation=held_out, epochs=EPOCHS)
    about = {
        "values": {name: list(pair) for name, pair in values.items()},
        "accuracies": dict(zip(values, trained.accuracies, strict=True)),
        "accuracy_on": extractors.accuracy_on(held_out is not None),
        "trained_on": f"train split, {len(labels)} images",
        "seed": extractors.SEED,
    }
    extractors.keep(dataset, path, "attributes", trained.module, about)


def _labelled(dataset: Dataset, split: str, values: Mapping[str, Values]) -> tuple[Pixels, NDArray[np.int64]]:
    """The training rows of a split that have a value of some attribute."""
    rows = extractors.training_rows(dataset, split)
    labels = binary_labels(dataset, split, values, rows)
    known = (labels >= 0).any(1)
    images, whole = extractors.whole_images(dataset, split, rows[known])
    return images, labels[known][whole]


def _load(dataset: Dataset, path: str) -> Attributes:
    module, about = extractors.kept(dataset, path)
    extractor = Extractor(
        "attributes",
        dataset.resolution,
        FEATURES,
        about["sha256"],
        features=lambda images: module.features(to_float(images)),
        # In float64, where even a sure answer is less sure than another.
        probabilities=lambda images: module(to_float(images)).double().sigmoid(),
    )
    values = {name: (first, second) for name, (first, second) in about["values"].items()}
    return Attributes(values, about["accuracies"], extractor)
