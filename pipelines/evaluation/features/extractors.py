"""Extractors by name. Those of a dataset are its pixels, or a classifier that is trained once and stored with it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alae_core.images import to_float
from alae_core.metrics.classifier import FEATURES, SMALLEST_SIDE, Classifier, train_classifier
from pipelines import storage
from pipelines.data.format.shard_files import DamagedError
from pipelines.data.format.shards import Dataset, Rows, Split, places
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.features.extractor import Extractor
from pipelines.experiment import EvaluationConfig
from pipelines.sources.decoding import Pixels
from pipelines.storage.digests import short_digest

FOLDER = "extractors"
MOST_TRAINING_ROWS = 20_000
MOST_TRAINING_BYTES = 2 * 2**30
PIXELS_SIZE = 8
SEED = 0


def extractor(name: str, dataset: Dataset, config: EvaluationConfig, *, clean: bool = False) -> Extractor:
    """Return the extractor `name` with the weights of `config`; raises ValueError with a remedy if they are missing.

    `clean` applies to Inception: it resizes as clean-fid does.
    """
    if name in ("classifier", "pixels"):
        return ensure_extractor(dataset, name)
    if name == "lite0":
        return pretrained.lite0()
    if name == "inception" and config.inception_weights:
        return pretrained.inception(config.inception_weights, clean=clean)
    if name == "vgg16" and config.vgg16_weights:
        return pretrained.vgg16(config.vgg16_weights)
    raise ValueError(f"the features of {name} need weights that are not given, or are not known")


def ensure_extractor(dataset: Dataset, name: str) -> Extractor:
    """Return the extractor `name` of `dataset`; the classifier is trained and stored with the dataset if it is missing.

    Raises ValueError if the dataset has no labels for a classifier, or if its images are too small.
    """
    if name == "pixels":
        return _pixels(dataset)
    if not dataset.label_count:
        raise ValueError(
            f"{dataset.url} has no labels for evaluation.extractor=classifier; use evaluation.extractor=pixels, or pack "
            "the images with labels"
        )
    if dataset.resolution < SMALLEST_SIDE:
        raise ValueError(
            f"{dataset.url} has images of {dataset.resolution} px, evaluation.extractor=classifier needs "
            f"{SMALLEST_SIDE} or more; use "
            "evaluation.extractor=pixels"
        )
    about = stored(dataset, f"classifier_r{dataset.resolution}_{content(dataset)}.json")
    if not storage.exists(about):
        _train(dataset, about)
    return _load(dataset, about)


def stored(dataset: Dataset, name: str) -> str:
    """Path or URL of a file `name` among the dataset's features."""
    return storage.join(dataset.url, FOLDER, name)


def content(dataset: Dataset, split: str = "train") -> str:
    """Digest of the images of a split, so that another dataset in the same folder gets its own extractors."""
    return short_digest(dataset.identity[split])


def _pixels(dataset: Dataset) -> Extractor:
    size = min(PIXELS_SIZE, dataset.resolution)

    def features(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(to_float(images), size).flatten(1)

    return Extractor("pixels", dataset.resolution, size * size * dataset.channels, f"pixels{size}", features)


@torch.enable_grad()
def _train(dataset: Dataset, path: str) -> None:
    images, labels = _labelled(dataset, "train")
    held_out = _labelled(dataset, "validation") if "validation" in dataset.manifest.splits else None
    if held_out is not None and not len(held_out[1]):
        held_out = None
    trained = train_classifier(images, labels, seed=SEED, classes=dataset.label_count, validation=held_out)
    about = {
        "accuracy": trained.accuracy,
        "accuracy_on": accuracy_on(held_out is not None),
        "trained_on": f"train split, {len(labels)} images",
        "seed": SEED,
    }
    keep(dataset, path, "classifier", trained.module, about)


def accuracy_on(validation: bool) -> str:
    """Description of the images on which the accuracy was measured."""
    return "validation split" if validation else "a tenth of the train split, held out"


def keep(dataset: Dataset, path: str, kind: str, module: Classifier, about: Mapping[str, Any]) -> None:
    """Store the weights with the dataset, then their description at `path`: `about`, and the file and digest of the weights."""
    weights = safetensors.torch.save(module.state_dict())
    digest = hashlib.sha256(weights).hexdigest()
    # Named by content: if two runs train at once, each description keeps its own weights.
    name = f"{kind}_{digest[:16]}.safetensors"
    storage.write_bytes_verified(stored(dataset, name), weights)
    form = {"resolution": module.resolution, "channels": module.channels, "classes": module.classes}
    storage.write_json_verified(path, {**form, **about, "weights": name, "sha256": digest})


def kept(dataset: Dataset, path: str) -> tuple[Classifier, dict[str, Any]]:
    """Load the network that `keep` stored, and its description; raises RuntimeError if the weights do not match it."""
    about = storage.read_json(path)
    where = stored(dataset, about["weights"])
    weights = storage.read_bytes(where)
    if hashlib.sha256(weights).hexdigest() != about["sha256"]:
        raise RuntimeError(f"{where} is not the file {path} describes; delete both to train it again")
    module = Classifier(about["resolution"], about["channels"], about["classes"])
    module.load_state_dict(safetensors.torch.load(weights))
    return module.eval(), about


def training_rows(dataset: Dataset, name: str) -> Rows:
    """First images of a split, as many as time and memory allow for the training of a classifier."""
    affordable = MOST_TRAINING_BYTES // (dataset.resolution**2 * dataset.channels)
    return np.arange(min(dataset.split(name).rows, MOST_TRAINING_ROWS, affordable))


def whole_images(dataset: Dataset, name: str, rows: Rows) -> tuple[Pixels, Rows]:
    """Finest images of `rows`, and the positions of those that are not damaged; damage is an error unless it is skipped."""
    split: Split = dataset.split(name)
    images, damage = split.read_sound(dataset.resolution, rows)
    if damage and split.damaged == "stop":
        raise DamagedError(damage[0].sentence)
    every = np.arange(len(rows))
    if not damage:
        return images, every
    whole = np.setdiff1d(every, places(damage))
    return images[whole], whole


def _labelled(dataset: Dataset, name: str) -> tuple[Pixels, NDArray[np.int64]]:
    """Training rows of a split that have a label."""
    rows = training_rows(dataset, name)
    labels = dataset.split(name).labels(rows)
    images, whole = whole_images(dataset, name, rows[labels >= 0])
    return images, labels[labels >= 0][whole]


def _load(dataset: Dataset, path: str) -> Extractor:
    module, about = kept(dataset, path)
    return Extractor(
        "classifier",
        dataset.resolution,
        FEATURES,
        about["sha256"],
        features=lambda images: module.features(to_float(images)),
        probabilities=lambda images: module(to_float(images)).softmax(1),
    )
