"""The features that a Fréchet distance compares: a classifier trained once on the dataset and kept with it, or pixels."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from alae_core.images import to_float
from alae_core.metrics.classifier import FEATURES, Classifier, train_classifier
from alae_core.metrics.frechet import FeatureStatistics
from pipelines import storage
from pipelines.data.shards import Dataset, Split
from pipelines.experiment import EvaluationConfig
from pipelines.sources.decoding import Pixels

FOLDER = "extractors"
MOST_TRAINING_ROWS = 20_000
MOST_TRAINING_BYTES = 2 * 2**30
PIXELS_SIZE = 8
SEED = 0


@dataclass(frozen=True)
class Extractor:
    """uint8 images [N, R, R, C] at `resolution` -> features [N, dimension]; `digest` names its weights."""

    name: str
    resolution: int
    dimension: int
    digest: str
    features: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of uint8 images [N, r, r, C]; coarser ones are enlarged by repeating pixels."""
        factor = self.resolution // images.shape[1]
        if factor > 1:
            images = images.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        return self.features(to_float(images))


def batches(count: int, resolution: int) -> list[int]:
    """`count` images in batches of 250, or fewer where 250 images above 64 px would fill the memory."""
    most = max(min(250, 2**20 // resolution**2), 1)
    return [min(most, count - start) for start in range(0, count, most)]


def metric_name(config: EvaluationConfig) -> str:
    """The Fréchet distance's name: features and number of samples belong to it, as in eval/fd_classifier5k.

    So does what is unusual in how the samples are made: eval/fd_classifier50k_mixed0.9_floored.
    """
    mixed = f"_mixed{config.mixing_probability:g}" if config.mixing_probability else ""
    floored = "_floored" if config.rounding == "official" else ""
    return f"eval/fd_{config.extractor}{config.samples / 1000:g}k{mixed}{floored}"


def ensure_extractor(dataset: Dataset, name: str) -> Extractor:
    """The extractor `name` for `dataset`; the classifier is trained and stored with the dataset if it is not there.

    Raises ValueError if the dataset has no labels to train a classifier on, or images too small for one.
    """
    if name == "pixels":
        return _pixels(dataset)
    if not dataset.label_count:
        raise ValueError(
            f"{dataset.url} has no labels for evaluation.extractor=classifier; use evaluation.extractor=pixels, or pack "
            "the images with labels"
        )
    if dataset.resolution < 8:
        raise ValueError(
            f"{dataset.url} has images of {dataset.resolution} px, evaluation.extractor=classifier needs 8 or more; use "
            "evaluation.extractor=pixels"
        )
    about = _stored(dataset, f"classifier_r{dataset.resolution}_{_content(dataset)}.json")
    if not storage.exists(about):
        _train(dataset, about)
    return _load(dataset, about)


def reference(dataset: Dataset, extractor: Extractor, resolution: int) -> FeatureStatistics:
    """Statistics of the whole train split at `resolution`; computed once and kept with the dataset.

    The key holds the extractor's weights, the images' checksums and the resolution.
    """
    split = dataset.split("train")
    key = _short_digest(f"{extractor.digest}|{_content(dataset)}|{resolution}")
    path = _stored(dataset, f"stats_{extractor.name}_r{resolution}_{key}.safetensors")
    if storage.exists(path):
        return FeatureStatistics.from_state_dict(safetensors.torch.load(storage.read_bytes(path)))
    statistics = FeatureStatistics(extractor.dimension)
    for rows in torch.arange(split.rows).split(batches(split.rows, resolution)):
        statistics.update(extractor(torch.from_numpy(split.read(resolution, rows.numpy()))))
    storage.write_bytes_verified(path, safetensors.torch.save(statistics.state_dict()))
    return statistics


def _stored(dataset: Dataset, name: str) -> str:
    return storage.join(dataset.url, FOLDER, name)


def _content(dataset: Dataset) -> str:
    """Names the training images: another packing in the same place gets extractors of its own."""
    return _short_digest(dataset.identity["train"])


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pixels(dataset: Dataset) -> Extractor:
    size = min(PIXELS_SIZE, dataset.resolution)

    def features(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, size).flatten(1)

    return Extractor("pixels", dataset.resolution, size * size * dataset.channels, f"pixels{size}", features)


@torch.enable_grad()
def _train(dataset: Dataset, path: str) -> None:
    images, labels = _labelled(dataset, "train")
    held_out = _labelled(dataset, "validation") if "validation" in dataset.manifest.splits else None
    if held_out is not None and not len(held_out[1]):
        held_out = None
    trained = train_classifier(images, labels, seed=SEED, classes=dataset.label_count, validation=held_out)
    weights = safetensors.torch.save(trained.module.state_dict())
    digest = hashlib.sha256(weights).hexdigest()
    about = {
        "resolution": dataset.resolution,
        "channels": dataset.channels,
        "classes": dataset.label_count,
        "accuracy": trained.accuracy,
        "accuracy_on": "validation split" if held_out else "a tenth of the train split, held out",
        "trained_on": f"train split, {len(labels)} images",
        "seed": SEED,
        # Named by content: of two runs that train at once, each description keeps the weights it describes.
        "weights": f"classifier_{digest[:16]}.safetensors",
        "sha256": digest,
    }
    storage.write_bytes_verified(_stored(dataset, str(about["weights"])), weights)
    storage.write_json_verified(path, about)


def _labelled(dataset: Dataset, name: str) -> tuple[Pixels, NDArray[np.int64]]:
    """The first images of a split that have a label, as many as time and memory allow."""
    split: Split = dataset.split(name)
    affordable = MOST_TRAINING_BYTES // (dataset.resolution**2 * dataset.channels)
    rows = np.arange(min(split.rows, MOST_TRAINING_ROWS, affordable))
    labels = split.labels(rows)
    known = labels >= 0
    return split.read(dataset.resolution, rows[known]), labels[known]


def _load(dataset: Dataset, path: str) -> Extractor:
    about = storage.read_json(path)
    where = _stored(dataset, about["weights"])
    weights = storage.read_bytes(where)
    if hashlib.sha256(weights).hexdigest() != about["sha256"]:
        raise RuntimeError(f"{where} is not the file {path} describes; delete both to train it again")
    module = Classifier(about["resolution"], about["channels"], about["classes"])
    module.load_state_dict(safetensors.torch.load(weights))
    module.eval()
    return Extractor("classifier", dataset.resolution, FEATURES, about["sha256"], module.features)
