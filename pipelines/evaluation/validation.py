"""A checkpoint's averaged networks -> evaluations/<nimg>.json and figures on storage, and the best one kept."""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from pipelines import storage
from pipelines.data.domains import open_datasets
from pipelines.evaluation.draws import Datasets
from pipelines.evaluation.loading import load_subject
from pipelines.evaluation.runner import Measured
from pipelines.evaluation.score import evaluate
from pipelines.evaluation.shares import measure_checkpoint
from pipelines.evaluation.subject import Subject
from pipelines.pictures import grids
from pipelines.runs import checkpoint as checkpoints
from pipelines.runs.best import keep_best
from pipelines.runs.results import dataset_record


def evaluate_checkpoint(run_url: str, url: str) -> dict[str, float]:
    """The metrics of the checkpoint at `url`, kept with its run; taken already, they are only read."""
    path = evaluation_url(run_url, checkpoints.read_manifest(url)["nimg"])
    if not storage.exists(path):
        storage.write_json_verified(path, _evaluated(run_url, url))
    # Also of an evaluation that is there: a kill may have come between the two.
    keep_best(run_url, checkpoints.read_experiment(url), only=url)
    return storage.read_json(path)["metrics"]


def evaluation_url(run_url: str, nimg: int) -> str:
    """Where the evaluation of the checkpoint at `nimg` is kept."""
    return f"{run_url}/evaluations/{nimg:012d}.json"


def record(
    url: str,
    nimg: int,
    subject: Subject,
    datasets: Datasets,
    metrics: Mapping[str, float],
    measured: Iterable[Measured],
) -> dict[str, Any]:
    """What is written down of the evaluation of the checkpoint at `url`: plain values, fit for JSON."""
    return {
        "nimg": nimg,
        "time": time.time(),
        "metrics": dict(metrics),
        "measured": {found.protocol.name: found.record() for found in measured},
        "figures": {},
        "checkpoint": url,
        "dataset": dataset_record(datasets),
        "resolution": subject.level.resolution,
    }


def _evaluated(run_url: str, url: str) -> dict[str, Any]:
    """The record of a fresh evaluation, its figures stored before."""
    experiment, subject, nimg = load_subject(url)
    datasets = open_datasets(experiment.data.path, experiment.domains, experiment.data.damaged)
    take = partial(measure_checkpoint, url, experiment, subject, datasets)
    scores = evaluate(subject, datasets, experiment.evaluation, take)
    pages = {name: f"figures/{name}_{nimg:012d}.png" for name in scores.figures}
    for name, page in scores.figures.items():
        storage.write_bytes_verified(f"{run_url}/{pages[name]}", grids.png_bytes(page))
    return record(url, nimg, subject, datasets, scores.metrics, scores.measured) | {"figures": pages}
