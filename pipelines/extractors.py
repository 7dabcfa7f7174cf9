"""The features that a Fréchet distance compares: a classifier trained once on the dataset and kept with it, or pixels."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.images import to_float
from alae_core.metrics.classifier import FEATURES, Classifier, train_classifier
from alae_core.metrics.frechet import FeatureStatistics
from alae_core.order import Rows
from pipelines import storage
from pipelines.experiment import EvaluationConfig
from pipelines.shards import Dataset, Split

FOLDER = "extractors"
MOST_TRAINING_ROWS = 20_000
PIXELS_SIZE = 8
SEED = 0
BATCH = 250


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


def metric_name(config: EvaluationConfig) -> str:
    """The Fréchet distance's name: features and number of samples belong to it, as in eval/fd_classifier5k."""
    return f"eval/fd_{config.extractor}{config.samples / 1000:g}k"


def ensure_extractor(dataset: Dataset, name: str) -> Extractor:
    """The extractor `name` for `dataset`; the classifier is trained and stored with the dataset if it is not there.

    Raises ValueError if the dataset has no labels to train a classifier on.
    """
    if name == "pixels":
        return _pixels(dataset)
    if not dataset.label_count:
        raise ValueError(
            f"{dataset.url} has no labels for evaluation.extractor=classifier; use evaluation.extractor=pixels"
        )
    path = f"{dataset.url}/{FOLDER}/classifier_r{dataset.resolution}"
    if not storage.exists(f"{path}.json"):
        _train(dataset, path)
    return _load(dataset, path)


def reference(dataset: Dataset, extractor: Extractor, resolution: int) -> FeatureStatistics:
    """Statistics of the whole train split at `resolution`; computed once and kept with the dataset.

    The key holds the extractor's weights, the images' checksums and the resolution.
    """
    split = dataset.split("train")
    content = ",".join(shard.sha256 for shard in dataset.manifest.splits["train"].shards)
    key = hashlib.sha256(f"{extractor.digest}|{content}|{resolution}".encode()).hexdigest()[:16]
    path = f"{dataset.url}/{FOLDER}/stats_{extractor.name}_r{resolution}_{key}.safetensors"
    if storage.exists(path):
        return FeatureStatistics.from_state_dict(safetensors.torch.load(storage.read_bytes(path)))
    statistics = FeatureStatistics(extractor.dimension)
    for rows in _batches(split):
        statistics.update(extractor(torch.from_numpy(split.read(resolution, rows))))
    storage.write_bytes_verified(path, safetensors.torch.save(statistics.state_dict()))
    return statistics


def _batches(split: Split) -> list[Rows]:
    return [rows.numpy() for rows in torch.arange(split.rows).split(BATCH)]


def _pixels(dataset: Dataset) -> Extractor:
    size = min(PIXELS_SIZE, dataset.resolution)

    def features(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, size).flatten(1)

    return Extractor("pixels", dataset.resolution, size * size * dataset.channels, f"pixels{size}", features)


@torch.enable_grad()
def _train(dataset: Dataset, path: str) -> None:
    train = dataset.split("train")
    rows = torch.arange(min(train.rows, MOST_TRAINING_ROWS)).numpy()
    held_out = None
    if "validation" in dataset.manifest.splits:
        validation = dataset.split("validation")
        held = torch.arange(min(validation.rows, MOST_TRAINING_ROWS)).numpy()
        held_out = (validation.read(dataset.resolution, held), validation.labels(held))
    trained = train_classifier(
        train.read(dataset.resolution, rows),
        train.labels(rows),
        seed=SEED,
        classes=dataset.label_count,
        validation=held_out,
    )
    weights = safetensors.torch.save(trained.module.state_dict())
    about = {
        "resolution": dataset.resolution,
        "channels": dataset.channels,
        "classes": dataset.label_count,
        "accuracy": trained.accuracy,
        "accuracy_on": "validation split" if held_out else "a tenth of the train split, held out",
        "trained_on": f"train split, {len(rows)} images",
        "seed": SEED,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    storage.write_bytes_verified(f"{path}.safetensors", weights)
    storage.write_bytes_verified(f"{path}.json", json.dumps(about, indent=2).encode())


def _load(dataset: Dataset, path: str) -> Extractor:
    about = storage.read_json(f"{path}.json")
    weights = storage.read_bytes(f"{path}.safetensors")
    if hashlib.sha256(weights).hexdigest() != about["sha256"]:
        raise RuntimeError(f"{path}.safetensors is not the file {path}.json describes; delete both to train it again")
    module = Classifier(about["resolution"], about["channels"], about["classes"])
    module.load_state_dict(safetensors.torch.load(weights))
    module.eval()
    return Extractor("classifier", dataset.resolution, FEATURES, about["sha256"], module.features)
