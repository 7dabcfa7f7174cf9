"""One checkpoint's metrics over the cluster: each Ray task draws a share, from the networks that it loads itself."""

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
    """The metrics `names` of the checkpoint at `url`, which is `subject`, in `evaluation.workers` tasks of the cluster.

    In this process where that is 1 or where this process is on no cluster; the numbers are the same to rounding. Raises
    ValueError as `requirements.check`, before any task, and RuntimeError if a task fails.
    """
    workers = experiment.evaluation.workers
    if workers > 1 and not on_cluster():
        log.warning("evaluation.workers=%d needs a cluster (RAY_ADDRESS); one process measures alone", workers)
        workers = 1
    if workers == 1:
        return measure(names, subject, datasets, experiment.evaluation)
    # What the tasks share beside a dataset, such as a classifier, is made here if it is not there.
    tasks = Planner(subject, datasets, experiment.evaluation).plan(names)
    shares = _gather_on_cluster(url, experiment, names, workers)
    for share in shares:
        for dataset, replaced in zip(datasets, share.replaced, strict=True):
            for split, rows in replaced.items():
                dataset.split(split).replaced.update(rows)
    return finish(tasks, [share.parts for share in shares])


@dataclass(frozen=True)
class Share:
    """What one task found."""

    parts: list[Part]
    """What each metric keeps."""
    replaced: list[dict[str, set[int]]]
    """Of each dataset by split, the rows of damaged images that others stood in for."""


def gather_share(url: str, experiment_json: str, names: Sequence[str], shard: Shard) -> Share:
    """What the metrics keep of one shard, by any process that reaches the checkpoint and the datasets."""
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
    # A strategy of its own, as the evaluation that waits here has. That one lends its CPUs meanwhile.
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
