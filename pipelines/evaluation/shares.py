"""Distributes the metrics of a checkpoint over the cluster: each Ray task loads the networks and draws a share."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.data.domains import open_datasets
from pipelines.evaluation.draws import Datasets
from pipelines.evaluation.loading import load_subject
from pipelines.evaluation.measures import Part
from pipelines.evaluation.plan import Planner
from pipelines.evaluation.runner import Shard, finish, gather, measure
from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.ray_connection import connect, on_cluster
from pipelines.runs.evaluations import Measured

log = logging.getLogger(__name__)


def measure_checkpoint(
    url: str, experiment: Experiment, subject: Subject, datasets: Datasets, names: Sequence[str]
) -> list[Measured]:
    """Compute the metrics `names` of the checkpoint at `url`, loaded as `subject`, in `evaluation.workers` Ray tasks.

    Computes in this process if that is 1 or there is no cluster; the values are the same up to rounding. Raises ValueError
    as `requirements.check` does before any task starts, and RuntimeError if a task fails.
    """
    workers = experiment.evaluation.workers
    if workers > 1 and not on_cluster():
        log.warning("evaluation.workers=%d needs a cluster (RAY_ADDRESS); one process measures alone", workers)
        workers = 1
    if workers == 1:
        return measure(names, subject, datasets, experiment.evaluation)
    # Files that the tasks share, such as a classifier stored with a dataset, are made here if they are missing.
    tasks = Planner(subject, datasets, experiment.evaluation).plan(names)
    shares = _gather_on_cluster(url, experiment, names, workers)
    for share in shares:
        for dataset, replaced in zip(datasets, share.replaced, strict=True):
            for split, rows in replaced.items():
                dataset.split(split).replaced.update(rows)
    return finish(tasks, [share.parts for share in shares])


@dataclass(frozen=True)
class Share:
    """Result of one task."""

    parts: list[Part]
    """Part of each metric."""
    replaced: list[dict[str, set[int]]]
    """For each dataset: split -> rows of damaged images that others replaced."""


def gather_share(url: str, experiment_json: str, names: Sequence[str], shard: Shard) -> Share:
    """Compute one shard; runs in any process that can read the checkpoint and the datasets."""
    experiment = Experiment.from_json(experiment_json)
    _, subject, _ = load_subject(url)
    datasets = open_datasets(experiment.data.path, experiment.domains, experiment.data.damaged)
    tasks = Planner(subject, datasets, experiment.evaluation).plan(names)
    parts = gather(tasks, subject, datasets, shard)
    return Share(parts, [{name: each.split(name).replaced for name in each.manifest.splits} for each in datasets])


def _gather_on_cluster(url: str, experiment: Experiment, names: Sequence[str], workers: int) -> list[Share]:
    import ray
    from ray.exceptions import RayError

    connect()
    # An explicit strategy, as the waiting evaluation has one; Ray lends the CPUs of the waiting task meanwhile.
    remote = ray.remote(gather_share).options(
        num_cpus=experiment.scaling.cpus_per_evaluation, scheduling_strategy="DEFAULT"
    )
    shares = [remote.remote(url, experiment.to_json(), names, Shard(index, workers)) for index in range(workers)]
    try:
        return ray.get(shares)
    except RayError as error:
        raise RuntimeError(
            f"a share of the evaluation of {url} failed: {str(error).strip().splitlines()[-1]}"
        ) from error
