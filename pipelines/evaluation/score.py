"""Evaluates the averaged networks of one checkpoint: metrics, reconstruction errors, and pages of images."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import images
from alae_core.algorithm import PLAIN_SAMPLING, Sampling, SamplingError
from alae_core.schedule import Level
from pipelines.data.domains import FOLDERS
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation.draws import Datasets
from pipelines.evaluation.features.extractor import batches
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.features.reference import blended
from pipelines.evaluation.pages import translations
from pipelines.evaluation.pages.from_codes import MIXED, drawn_from_codes
from pipelines.evaluation.runner import measure
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from pipelines.experiment.metric_choice import metric_names
from pipelines.pictures import grids
from pipelines.runs.evaluations import Measured, metrics_of

Pixels = NDArray[np.uint8]
TRUNCATED = Sampling(truncation=0.7)
"""Sampling of the page of truncated samples; metrics do not use it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """Result for one checkpoint: values by metric name, and pages uint8 [H, W, C] by figure name."""

    metrics: dict[str, float]
    figures: dict[str, Pixels]
    measured: list[Measured] = field(default_factory=list)
    """Metrics with standard errors, protocols and notes."""


@torch.no_grad()
def evaluate(
    subject: Subject,
    datasets: Datasets,
    config: EvaluationConfig,
    take: Callable[[Sequence[str]], list[Measured]] | None = None,
) -> Scores:
    """Score `subject` by the metrics that `config` names, which `take` measures; else this process does.

    `datasets`: one per domain. Without any name it is the distance between `config.samples` generated images and the whole
    train split at the level's resolution, and of translations the kernel distances of `requirements.default_names`. The
    reconstruction errors are those of held-out images, or of training images under a name that says so; of translators, of
    each domain by itself.
    """
    began = time.perf_counter()
    if len(datasets) == 1:
        _warn_of_few_samples(datasets[0], config)
    names = metric_names(config, len(datasets))
    measured = take(names) if take else measure(names, subject, datasets, config)
    metrics = {
        **metrics_of(measured),
        **_reconstruction_errors(subject, datasets, config.reconstructions),
        "eval/resolution": float(subject.level.resolution),
        **({} if config.metrics else {"eval/samples": float(config.samples)}),
    }
    pages = _pages(subject, datasets, config.grid_columns)
    metrics |= _skipped_images(datasets)
    metrics["eval/seconds"] = time.perf_counter() - began
    return Scores(metrics, pages, measured)


def _warn_of_few_samples(dataset: Dataset, config: EvaluationConfig) -> None:
    if config.metrics:
        return
    features = ensure_extractor(dataset, config.extractor)
    if config.samples < features.dimension:
        log.warning(
            "evaluation.samples=%d is below the %d features of evaluation.extractor=%s: the distance is biased upwards",
            config.samples,
            features.dimension,
            features.name,
        )


def _reconstructed_split(dataset: Dataset) -> tuple[Split, str]:
    if "validation" in dataset.manifest.splits:
        return dataset.split("validation"), ""
    return dataset.split("train"), "_train"


def _skipped_images(datasets: Datasets) -> dict[str, float]:
    """Metric with the number of damaged images that others replaced; empty if there are none."""
    skipped = 0
    for dataset in datasets:
        if replaced := sum(len(dataset.split(name).replaced) for name in dataset.manifest.splits):
            log.warning("%d damaged images of %s are replaced by others in the evaluation", replaced, dataset.url)
            skipped += replaced
    return {"eval/skipped_images": float(skipped)} if skipped else {}


def _reconstruction_errors(subject: Subject, datasets: Datasets, count: int) -> dict[str, float]:
    """`eval/reconstruction_l1` and `_l2`, for translators with the domain as suffix; empty without an encoder."""
    errors: dict[str, float] = {}
    for domain, dataset in enumerate(datasets):
        split, suffix = _reconstructed_split(dataset)
        ending = f"{suffix}_{FOLDERS[domain]}" if len(datasets) > 1 else suffix
        found = _errors(subject, split, count, domain)
        errors |= {f"eval/reconstruction_{name}{ending}": value for name, value in found.items()}
    return errors


def _errors(subject: Subject, split: Split, count: int, domain: int) -> dict[str, float]:
    """Mean absolute and mean squared error per pixel in units of [-1, 1]; empty without an encoder."""
    l1 = l2 = 0.0
    count = min(count, split.rows)
    first = 0
    for size in batches(count, subject.level.resolution):
        real = _read(split, subject.level, first, size)
        reconstructed = subject.reconstruction(real, domain)
        if reconstructed is None:
            return {}
        difference = reconstructed - real
        l1 += difference.abs().mean().item() * size / count
        l2 += difference.square().mean().item() * size / count
        first += size
    return {"l1": l1, "l2": l2}


def _pages(subject: Subject, datasets: Datasets, columns: int) -> dict[str, Pixels]:
    splits = [_reconstructed_split(dataset)[0] for dataset in datasets]
    reals = tuple(_read(split, subject.level, 0, min(columns * columns, split.rows)) for split in splits)
    if len(reals) > 1:
        return translations.pages(subject, reals, columns)
    return _pages_of_one(subject, reals[0], columns)


def _pages_of_one(subject: Subject, real: Tensor, columns: int) -> dict[str, Pixels]:
    pages = {
        "reals": grids.sample_page(_pixels(real), columns),
        "samples": _sample_page(subject, columns),
    }
    # Truncation needs a mean code; without one there is no such page.
    with suppress(SamplingError):
        pages["samples_truncated"] = _sample_page(subject, columns, TRUNCATED)
    pages |= drawn_from_codes(subject, real, columns)
    reconstructed = subject.reconstruction(real)
    if reconstructed is None:
        return pages
    pages["reconstructions"] = grids.reconstruction_page(_pixels(real), _pixels(reconstructed), columns)
    sources, destinations = real[:MIXED], real[MIXED : 2 * MIXED]
    if len(destinations):
        mixed = subject.algorithm.mix(
            subject.networks,
            subject.batch(0, len(sources), sources),
            subject.batch(0, len(destinations), destinations),
        )
        if mixed is not None:
            pages["mixing"] = grids.mixing_page(_pixels(sources), _pixels(destinations), _pixels(mixed))
    return pages


def _sample_page(subject: Subject, columns: int, sampling: Sampling = PLAIN_SAMPLING) -> Pixels:
    parts = [_pixels(part) for part in subject.samples(columns * columns, sampling)]
    return grids.sample_page(np.concatenate(parts), columns)


def _read(split: Split, level: Level, first: int, count: int) -> Tensor:
    """Real images of this level, blended as in training."""
    return blended(split, level.resolution, level.blend, first, count)


def _pixels(content: Tensor) -> Pixels:
    return images.to_uint8(content).numpy()
