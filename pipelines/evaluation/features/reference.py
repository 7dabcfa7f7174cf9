"""Features of real images, with which generated ones are compared; computed once and stored with the dataset."""

from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from alae_core import images, noise
from alae_core.metrics.frechet import FeatureStatistics
from pipelines import storage
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation.features.extractor import Extractor, batches
from pipelines.evaluation.features.extractors import content, stored
from pipelines.storage.digests import short_digest

MOST_KEPT_NUMBERS = 2**26
"""Largest number of float32 values (256 MiB) that is stored; larger sets of features are computed each time."""


@dataclass(frozen=True, kw_only=True)
class Reals:
    """The first `count` images of a split at one resolution; datasets are stored in random order."""

    dataset: Dataset
    extractor: Extractor
    resolution: int
    split: str = "train"
    count: int | None = None
    """Number of images; None: all."""
    mirrored: bool = False
    """Mirror each image with probability 0.5; its position determines the draw."""

    @property
    def rows(self) -> int:
        """Number of images."""
        rows = self.dataset.split(self.split).rows
        return rows if self.count is None else min(rows, self.count)

    def statistics(self) -> FeatureStatistics:
        """Return mean and covariance of the features."""
        path = self._path("stats")
        if storage.exists(path):
            return FeatureStatistics.from_state_dict(safetensors.torch.load(storage.read_bytes(path)))
        statistics = FeatureStatistics(self.extractor.dimension)
        for rows in torch.arange(self.rows).split(batches(self.rows, self.resolution)):
            statistics.update(self._features(rows))
        if self._whole:
            storage.write_bytes_verified(path, safetensors.torch.save(statistics.state_dict()))
        return statistics

    def features(self) -> Tensor:
        """Return the features, float32 [rows, D]."""
        path = self._path("features")
        if storage.exists(path):
            return safetensors.torch.load(storage.read_bytes(path))["features"]
        numbers = torch.arange(self.rows).split(batches(self.rows, self.resolution))
        features = torch.cat([self._features(rows) for rows in numbers])
        if self._whole and features.numel() <= MOST_KEPT_NUMBERS:
            storage.write_bytes_verified(path, safetensors.torch.save({"features": features.contiguous()}))
        return features

    @property
    def _whole(self) -> bool:
        """Whether all images could be read; otherwise nothing is stored, because a repaired dataset has the same name."""
        return not self.dataset.split(self.split).replaced

    def _features(self, rows: Tensor) -> Tensor:
        pixels = torch.from_numpy(self.dataset.split(self.split).read(self.resolution, rows.numpy()))
        if self.mirrored:
            chance = noise.uniform((self.rows,), torch.device("cpu"), "mirrored reals")[rows]
            pixels = images.flip_some(pixels.permute(0, 3, 1, 2), chance).permute(0, 2, 3, 1)
        return self.extractor(pixels)

    def _path(self, kind: str) -> str:
        """Path whose name contains the digests of weights and images, the resolution and the selection of images."""
        choice = [self.split] if self.split != "train" else []
        choice += [str(self.rows)] if self.rows < self.dataset.split(self.split).rows else []
        choice += ["mirrored"] if self.mirrored else []
        identity = content(self.dataset, self.split)
        key = short_digest("|".join([self.extractor.digest, identity, str(self.resolution), *choice]))
        return stored(self.dataset, f"{kind}_{self.extractor.name}_r{self.resolution}_{key}.safetensors")


def blended(split: Split, resolution: int, blend: float, first: int, count: int) -> Tensor:
    """Real images float32 [n, C, R, R] in [-1, 1] from row `first`, blended as in training if in a fade."""
    pixels = split.read(resolution, np.arange(first, first + count))
    return images.blend_with_coarser(images.to_float(torch.from_numpy(pixels)), blend)
