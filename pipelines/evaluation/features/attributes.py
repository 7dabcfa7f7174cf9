"""A classifier of a dataset's binary attributes: one network with a logit per attribute, trained once per dataset."""

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
"""Values of an attribute that are labelled 0 and 1."""


@dataclass(frozen=True)
class Attributes:
    """Binary attributes of a dataset, and the network that predicts them from images."""

    values: Mapping[str, Values]
    """Attribute -> its two values, in the order of the network's logits; 0 and 1 for a bool."""
    accuracies: Mapping[str, float | None]
    """Accuracy per attribute on held-out images, in [0, 1]; None if no held-out image has a value."""
    extractor: Extractor
    """Network whose `classes` are the probabilities of each attribute's second value, float64 [N, K]."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the attributes in the order of the logits."""
        return tuple(self.values)


def ensure_attributes(dataset: Dataset) -> Attributes:
    """Return the dataset's attributes; their classifier is trained and stored with the dataset if it is missing.

    Raises ValueError if no attribute has two values, or if the images are too small for a classifier.
    """
    check(dataset)
    name = f"attributes_r{dataset.resolution}_{extractors.content(dataset)}.json"
    path = extractors.stored(dataset, name)
    if not exists(path):
        _train(dataset, path)
    return _load(dataset, path)


def check(dataset: Dataset) -> None:
    """Raise ValueError with a remedy if the manifest already shows that the dataset has no attribute to classify."""
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
    """Return the bool and int64 attributes with exactly two values in the training rows, the smaller value first."""
    rows = extractors.training_rows(dataset, "train")
    found = {}
    for name, kind in dataset.manifest.attributes.items():
        if kind in KINDS:
            values = sorted({value for value in dataset.split("train").attribute(name, rows) if value is not None})
            if len(values) == 2:
                found[name] = (int(values[0]), int(values[1]))
    return found


def binary_labels(dataset: Dataset, split: str, values: Mapping[str, Values], rows: Rows) -> NDArray[np.int64]:
    """Return labels int64 [len(rows), K]: 0 or 1 for the attribute's first or second value, -1 for neither."""
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
    """Training rows of a split that have a value of at least one attribute."""
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
        # float64, so that even probabilities near 1 remain distinct.
        probabilities=lambda images: module(to_float(images)).double().sigmoid(),
    )
    values = {name: (first, second) for name, (first, second) in about["values"].items()}
    return Attributes(values, about["accuracies"], extractor)
