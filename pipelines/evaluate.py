"""Scores the averaged networks of one checkpoint: distances, reconstruction errors, and pages of images."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import images
from alae_core.algorithm import PLAIN_SAMPLING, Algorithm, Batch, Networks, Sampling, SamplingError
from alae_core.metrics.frechet import FeatureStatistics, frechet_distance
from alae_core.schedule import Level
from pipelines import figures
from pipelines.data.shards import Dataset, Split
from pipelines.experiment import EvaluationConfig
from pipelines.extractors import Extractor, batches, ensure_extractor, metric_name, reference

Pixels = NDArray[np.uint8]
MIXED = 6
"""Sources and destinations of the mixing page."""
TRUNCATED = Sampling(truncation=0.7)
"""Of the page of truncated samples; the metrics use none."""

log = logging.getLogger(__name__)


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

    def samples(self, count: int, sampling: Sampling = PLAIN_SAMPLING) -> Iterator[Tensor]:
        """`count` generated images, [n, C, R, R] at a time; RuntimeError if one is not finite."""
        for number, size in enumerate(batches(count, self.level.resolution)):
            generated = self.algorithm.generate(self.networks, self.batch(number, size), sampling)
            yield _finite("generated images", generated)

    def reconstruction(self, real: Tensor) -> Tensor | None:
        """[n, C, R, R], encoded and decoded; None without an encoder; RuntimeError if one is not finite."""
        parts = []
        for part in real.split(batches(len(real), self.level.resolution)):
            reconstructed = self.algorithm.reconstruct(self.networks, self.batch(0, len(part), part))
            if reconstructed is None:
                return None
            parts.append(reconstructed)
        return _finite("reconstructions", torch.cat(parts))


@torch.no_grad()
def evaluate(subject: Subject, dataset: Dataset, config: EvaluationConfig) -> Scores:
    """Score `subject` against `dataset`.

    The distance is between `config.samples` generated images and the whole train split at the level's resolution; the
    reconstruction errors are those of held-out images, or of training images under a name that says so.
    """
    began = time.perf_counter()
    extractor = ensure_extractor(dataset, config.extractor)
    held_out, suffix = _reconstructed_split(dataset)
    errors = _reconstruction_errors(subject, held_out, config.reconstructions)
    metrics = {
        metric_name(config): _distance(subject, dataset, extractor, config),
        **{f"eval/reconstruction_{name}{suffix}": value for name, value in errors.items()},
        "eval/resolution": float(subject.level.resolution),
        "eval/samples": float(config.samples),
        "eval/seconds": time.perf_counter() - began,
    }
    return Scores(metrics, _pages(subject, held_out, config.grid_columns))


def _distance(subject: Subject, dataset: Dataset, extractor: Extractor, config: EvaluationConfig) -> float:
    if config.samples < extractor.dimension:
        log.warning(
            "evaluation.samples=%d is below the %d features of evaluation.extractor=%s: the distance is biased upwards",
            config.samples,
            extractor.dimension,
            extractor.name,
        )
    generated = FeatureStatistics(extractor.dimension)
    to_bytes = images.to_uint8 if config.rounding == "nearest" else images.to_uint8_floored
    for part in subject.samples(config.samples, Sampling(mixing_probability=config.mixing_probability)):
        generated.update(extractor(to_bytes(part)))
    return frechet_distance(reference(dataset, extractor, subject.level.resolution), generated)


def _reconstructed_split(dataset: Dataset) -> tuple[Split, str]:
    if "validation" in dataset.manifest.splits:
        return dataset.split("validation"), ""
    return dataset.split("train"), "_train"


def _reconstruction_errors(subject: Subject, split: Split, count: int) -> dict[str, float]:
    """Mean absolute and mean squared error per pixel, in units of [-1, 1]; nothing without an encoder."""
    l1 = l2 = 0.0
    count = min(count, split.rows)
    first = 0
    for size in batches(count, subject.level.resolution):
        real = _read(split, subject.level, first, size)
        reconstructed = subject.reconstruction(real)
        if reconstructed is None:
            return {}
        difference = reconstructed - real
        l1 += difference.abs().mean().item() * size / count
        l2 += difference.square().mean().item() * size / count
        first += size
    return {"l1": l1, "l2": l2}


def _pages(subject: Subject, split: Split, columns: int) -> dict[str, Pixels]:
    count = min(columns * columns, split.rows)
    real = _read(split, subject.level, 0, count)
    pages = {
        "reals": figures.sample_page(_pixels(real), columns),
        "samples": _sample_page(subject, columns),
    }
    # Without a mean to pull towards there is no such page.
    with suppress(SamplingError):
        pages["samples_truncated"] = _sample_page(subject, columns, TRUNCATED)
    reconstructed = subject.reconstruction(real)
    if reconstructed is None:
        return pages
    pages["reconstructions"] = figures.reconstruction_page(_pixels(real), _pixels(reconstructed), columns)
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


def _sample_page(subject: Subject, columns: int, sampling: Sampling = PLAIN_SAMPLING) -> Pixels:
    parts = [_pixels(part) for part in subject.samples(columns * columns, sampling)]
    return figures.sample_page(np.concatenate(parts), columns)


def _read(split: Split, level: Level, first: int, count: int) -> Tensor:
    """Real images as the training saw them at this level: within a fade, blended with the coarser level."""
    real = images.to_float(torch.from_numpy(split.read(level.resolution, np.arange(first, first + count))))
    return images.blend_with_coarser(real, level.blend)


def _pixels(content: Tensor) -> Pixels:
    return images.to_uint8(content).numpy()


def _finite(what: str, content: Tensor) -> Tensor:
    # Rounded to uint8, NaN would pass for black.
    if not torch.isfinite(content).all():
        bad = int((~torch.isfinite(content)).flatten(1).any(1).sum())
        raise RuntimeError(f"{bad} of {len(content)} {what} are not finite; the averaged networks are no good")
    return content
