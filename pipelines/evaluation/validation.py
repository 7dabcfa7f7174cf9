"""Evaluates a checkpoint's averaged networks, stores metrics and figures with the run, and keeps the best checkpoint."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

from pipelines import storage
from pipelines.data.domains import open_datasets
from pipelines.evaluation.loading import load_subject
from pipelines.evaluation.score import evaluate
from pipelines.evaluation.shares import measure_checkpoint
from pipelines.pictures import grids
from pipelines.runs import checkpoint as checkpoints
from pipelines.runs import layout
from pipelines.runs.best import keep_best
from pipelines.runs.evaluations import Evaluation, read_evaluation, write_evaluation


def evaluate_checkpoint(run_url: str, url: str, data_path: str | None = None) -> dict[str, float]:
    """Return the metrics of the checkpoint at `url`; evaluates it and stores them with the run unless they are stored.

    `data_path` is the dataset's present path or URL, if it was moved since the checkpoint was saved.
    """
    manifest = checkpoints.read_manifest(url)
    path = layout.evaluation_path(manifest["nimg"])
    if storage.exists(f"{run_url}/{path}"):
        evaluation = read_evaluation(run_url, path)
    else:
        evaluation = _evaluated(run_url, url, manifest, data_path)
        write_evaluation(run_url, evaluation)
    # Also for a stored evaluation: the process may have been killed between the two steps.
    keep_best(run_url, checkpoints.experiment_of(manifest), only=url, manifest=manifest)
    return {name: math.nan if value is None else value for name, value in evaluation.metrics.items()}


def _evaluated(run_url: str, url: str, manifest: dict[str, Any], data_path: str | None) -> Evaluation:
    """Compute a new evaluation, and store its figures first."""
    experiment, subject, nimg = load_subject(url, manifest)
    experiment = replace(experiment, data=replace(experiment.data, path=data_path or experiment.data.path))
    datasets = open_datasets(experiment.data.path, experiment.domains, experiment.data.damaged)
    take = partial(measure_checkpoint, url, experiment, subject, datasets)
    scores = evaluate(subject, datasets, experiment.evaluation, take)
    pages = {name: layout.figure_path(name, nimg) for name in scores.figures}
    for name, page in scores.figures.items():
        storage.write_bytes_verified(f"{run_url}/{pages[name]}", grids.png_bytes(page))
    return Evaluation.now(
        url, nimg, subject.level.resolution, datasets, scores.measured, metrics=scores.metrics, figures=pages
    )
