"""Scores the averaged networks of one checkpoint: distances, reconstruction errors, and pages of images."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import images
from alae_core.algorithm import Algorithm, Batch, Networks
from alae_core.metrics.frechet import FeatureStatistics, frechet_distance
from alae_core.schedule import Level
from pipelines import figures
from pipelines.experiment import EvaluationConfig
from pipelines.extractors import BATCH, ensure_extractor, metric_name, reference
from pipelines.shards import Dataset, Split

Pixels = NDArray[np.uint8]
MIXED = 6
"""Sources and destinations of the mixing page."""


@dataclass(frozen=True)
class Scores:
    """What one checkpoint gave: numbers by metric name, pages uint8 [H, W, C] by figure name."""

    metrics: dict[str, float]
    figures: dict[str, Pixels]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The networks under evaluation, at the level their checkpoint was trained at; all noise is named by `seed`."""

    algorithm: Algorithm
    networks: Networks
    level: Level
    channels: int
    seed: int

    def batch(self, number: int, count: int, real: Tensor | None = None) -> Batch:
        """`count` images of the evaluation, the `number`-th such batch; `real`: [count, C, R, R]."""
        size = self.level.resolution
        content = torch.zeros(count, self.channels, size, size) if real is None else real
        level = replace(self.level, batch_size=count)
        return Batch(
            images=(content,),
            level=level,
            nimg=number,
            seed=self.seed,
            rows=slice(0, count),
            update="evaluate",
        )

    def samples(self, count: int) -> Iterator[Tensor]:
        """`count` generated images, uint8 [n, R, R, C] at a time."""
        for number, size in enumerate(_sizes(count)):
            yield images.to_uint8(self.algorithm.generate(self.networks, self.batch(number, size)))

    def reconstruction(self, real: Tensor) -> Tensor:
        """[n, C, R, R], encoded and decoded."""
        return self.algorithm.reconstruct(self.networks, self.batch(0, len(real), real))


@torch.no_grad()
def evaluate(subject: Subject, dataset: Dataset, config: EvaluationConfig) -> Scores:
    """Score `subject` against `dataset`.

    The distance is between `config.samples` generated images and the whole train split at the level's resolution; the
    reconstruction errors are those of held-out images, or of training images under a name that says so.
    """
    began = time.perf_counter()
    resolution = subject.level.resolution
    extractor = ensure_extractor(dataset, config.extractor)
    generated = FeatureStatistics(extractor.dimension)
    for samples in subject.samples(config.samples):
        generated.update(extractor(samples))
    distance = frechet_distance(reference(dataset, extractor, resolution), generated)
    held_out, suffix = _reconstructed_split(dataset)
    errors = _reconstruction_errors(subject, held_out, config.reconstructions)
    metrics = {
        metric_name(config): distance,
        **{f"eval/reconstruction_{name}{suffix}": value for name, value in errors.items()},
        "eval/resolution": float(resolution),
        "eval/samples": float(config.samples),
        "eval/seconds": time.perf_counter() - began,
    }
    return Scores(metrics, _pages(subject, held_out, config.grid_columns))


def _reconstructed_split(dataset: Dataset) -> tuple[Split, str]:
    if "validation" in dataset.manifest.splits:
        return dataset.split("validation"), ""
    return dataset.split("train"), "_train"


def _reconstruction_errors(subject: Subject, split: Split, count: int) -> dict[str, float]:
    """Mean absolute and mean squared error per pixel, in units of [-1, 1]."""
    l1 = l2 = 0.0
    count = min(count, split.rows)
    first = 0
    for size in _sizes(count):
        real = _read(split, subject.level.resolution, first, size)
        difference = subject.reconstruction(real) - real
        l1 += difference.abs().mean().item() * size / count
        l2 += difference.square().mean().item() * size / count
        first += size
    return {"l1": l1, "l2": l2}


def _pages(subject: Subject, split: Split, columns: int) -> dict[str, Pixels]:
    count = min(columns * columns, split.rows)
    real = _read(split, subject.level.resolution, 0, count)
    pages = {
        "reals": figures.sample_page(_pixels(real), columns),
        "reconstructions": figures.reconstruction_page(_pixels(real), _pixels(subject.reconstruction(real)), columns),
        "samples": figures.sample_page(
            np.concatenate([s.numpy() for s in subject.samples(columns * columns)]), columns
        ),
    }
    sources, destinations = real[:MIXED], real[MIXED : 2 * MIXED]
    if len(destinations):
        mixed = subject.algorithm.mix(
            subject.networks,
            subject.batch(0, len(sources), sources),
            subject.batch(0, len(destinations), destinations),
        )
        if mixed is not None:
            pages["mixing"] = figures.mixing_page(_pixels(sources), _pixels(destinations), _pixels(mixed))
    return pages


def _read(split: Split, resolution: int, first: int, count: int) -> Tensor:
    return images.to_float(torch.from_numpy(split.read(resolution, np.arange(first, first + count))))


def _pixels(content: Tensor) -> Pixels:
    return images.to_uint8(content).numpy()


def _sizes(count: int) -> list[int]:
    return [min(BATCH, count - start) for start in range(0, count, BATCH)]
