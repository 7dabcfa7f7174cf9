"""Builds a TorchTrainer from an Experiment: scaling, failures, checkpoints, evaluation, callbacks, data."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError
from ray.train import DataConfig
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2.api.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.train.v2.api.validation_config import ValidationConfig
from ray.train.v2.torch.torch_trainer import TorchTrainer

from alae_core.alarms import Raised
from pipelines import storage
from pipelines.data.feed.stream import SPLIT, execution_options, training_dataset
from pipelines.evaluation import requirements
from pipelines.evaluation.tasks import validate_checkpoint
from pipelines.evaluation.validation import evaluate_checkpoint
from pipelines.experiment import Experiment, metric_choice
from pipelines.ray_connection import connect
from pipelines.runs import checkpoint, layout
from pipelines.runs.best import keep_best
from pipelines.runs.commit import commit
from pipelines.runs.evaluations import Evaluation, read_evaluations
from pipelines.runs.history import History, Tick
from pipelines.runs.monitor import Watch
from pipelines.runs.run import Run
from pipelines.tracking.background import BackgroundSync
from pipelines.tracking.track import replica
from pipelines.training import places, preflight
from pipelines.training.cadence import Due
from pipelines.training.callback import Recorder
from pipelines.training.progress import follow
from pipelines.training.worker import train_worker

LAST_SYNC_S = 120.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A finished run, its folder and its evaluations."""

    run: Run
    experiment: Experiment
    already_finished: bool
    tracked: bool
    """False if MLflow lacks a part of the history, which `alae track` replays."""

    def evaluations(self) -> list[Evaluation]:
        """The run's own evaluations, oldest first; those added by `alae evaluate` are left out."""
        return read_evaluations(self.run.url, own=True)


def train(
    experiment: Experiment,
    *,
    on_tick: Callable[[Tick], None] | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    on_alarm: Callable[[Raised], None] | None = None,
) -> Outcome:
    """Train `experiment` to its end, from where it stopped last; on the Ray cluster in use, or on a local one.

    `on_tick`, `on_evaluation` and `on_alarm` are called in this process, from a thread of their own, with each new record.
    Raises ValueError for a mistake that the user can correct, before resources are taken, and RuntimeError if the training fails.
    """
    experiment = places.reachable(experiment)
    datasets = preflight.check(experiment)
    run = Run.of(experiment)
    run.claim(experiment, datasets, preflight.file_digests(experiment))
    finished = run.finished_at(experiment) is not None
    run.fetch_history()
    if not finished:
        if experiment.evaluation.enabled:
            requirements.prepare(metric_choice.metric_names(experiment.evaluation, len(datasets)), datasets)
        connect()
        preflight.check_capacity(experiment)
        run.begin()
        _forget_deleted_checkpoints(run)
        if experiment.training.init_from and checkpoint.latest(run.url) is None:
            log.warning("%s starts from the networks of %s", experiment.name, experiment.training.init_from)
        _fit(experiment, run, partial(follow, run, on_tick, on_evaluation, Watch(experiment, run.history), on_alarm))
    return Outcome(run, experiment, finished, _track(experiment, run, "FINISHED"))


def _forget_deleted_checkpoints(run: Run) -> None:
    """Remove Ray's record of the run's checkpoints where one of them was deleted: Ray would refuse the run's folder."""
    record = f"{run.url}/{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}"
    if storage.exists(record):
        named = {result["checkpoint_dir_name"] for result in storage.read_json(record)["checkpoint_results"]}
        if not named <= {layout.checkpoint_name(saved.nimg) for saved in checkpoint.finished(run.url)}:
            storage.delete_file(record)


def _fit(experiment: Experiment, run: Run, following: Callable[[], AbstractContextManager[None]]) -> None:
    try:
        keep_best(run.url, experiment)
        with following():
            _trainer(experiment, run).fit()
            # A worker lost with its last checkpoint uploaded but not reported leaves nothing to train, nor to report.
            run.recover_ticks(History(run.history))
            run.raise_failure()
            for sentence in run.damage():
                log.warning("%s; other images replaced its images in the training", sentence)
            _evaluate_missed(experiment, run)
            _draw_to_the_end(experiment, run)
    except Exception as error:
        _track(experiment, run, "FAILED")
        if isinstance(error, TrainingFailedError | RayError):
            raise RuntimeError(_sentence(error, run)) from error
        raise


def _draw_to_the_end(experiment: Experiment, run: Run) -> None:
    """Draw the last charts; the controller draws with each checkpoint, before that one is evaluated."""
    try:
        Watch(experiment, run.history).draw(run.url, experiment.schedule.total_nimg)
    except (ValueError, OSError) as error:
        log.warning("the last charts could not be written: %s", error)


def _sentence(error: TrainingFailedError | RayError, run: Run) -> str:
    """The error, the process that it occurred in, and the newest checkpoint."""
    if isinstance(error, WorkerGroupError):
        rank, cause = min(error.worker_failures.items())
        where = f"rank {rank}"
    else:
        cause, where = getattr(error, "controller_failure", error), "the controller"
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    newest = checkpoint.latest(run.url)
    kept = (
        f"{newest.nimg / 1000:g} kimg are safe, and the same command goes on from there"
        if newest
        else "no checkpoint yet"
    )
    return f"training failed on {where}: {lines[-1]} ({kept})"


def _trainer(experiment: Experiment, run: Run) -> TorchTrainer:
    scaling = experiment.scaling
    resources = {"CPU": scaling.cpus_per_worker}
    if scaling.gpus_per_worker:
        resources["GPU"] = scaling.gpus_per_worker
    folder, _, name = run.url.rpartition("/")
    # Ours rather than Ray's own for the folder: it waits for a silent store, which would otherwise end the run.
    filesystem, storage_path = storage.pyarrow_filesystem(folder)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return TorchTrainer(
        train_worker,
        train_loop_config={"experiment": experiment.to_json(), "run_url": run.url, "commit": commit()},
        scaling_config=ScalingConfig(
            num_workers=scaling.workers,
            use_gpu=scaling.gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage_path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=scaling.max_failures, controller_failure_limit=scaling.max_failures
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=experiment.training.keep_checkpoints),
            callbacks=[Recorder(run, replica(experiment, run), experiment)],
        ),
        datasets={SPLIT: partial(_remaining_data, experiment.to_json(), run.url)},
        dataset_config=DataConfig(execution_options=execution_options(experiment)),
        validation_config=ValidationConfig(
            fn=partial(validate_checkpoint, run.url, _evaluation_resources(experiment)),
            ray_remote_kwargs={**_evaluation_resources(experiment), "num_cpus": 0},  # it waits for a task that has them
        ),
    )


def _remaining_data(experiment_json: str, run_url: str) -> ray.data.Dataset:
    """The data from the newest checkpoint on; called at every start of the worker group."""
    newest = checkpoint.latest(run_url)
    ray.data.DataContext.get_current().enable_progress_bars = False  # in the controller, which has a context of its own
    return training_dataset(Experiment.from_json(experiment_json), newest.nimg if newest else 0)


def _evaluation_resources(experiment: Experiment) -> dict[str, Any]:
    # A strategy of its own: in a search, the evaluation would otherwise have to fit into the trial's placement group.
    return {"num_cpus": experiment.scaling.cpus_per_evaluation, "scheduling_strategy": "DEFAULT"}


def _evaluate_missed(experiment: Experiment, run: Run) -> None:
    """Evaluate checkpoints that a kill between their upload and their registration with Ray left unevaluated."""
    remote = ray.remote(evaluate_checkpoint).options(**_evaluation_resources(experiment))
    for saved in checkpoint.finished(run.url):
        batch = experiment.schedule.level_before(saved.nimg).batch_size
        due = Due.between(experiment, saved.nimg - batch, saved.nimg).validate
        if due and not storage.exists(f"{run.url}/{layout.evaluation_path(saved.nimg)}"):
            try:
                ray.get(remote.remote(run.url, saved.url, experiment.data.path))
            except RayError as error:
                log.warning("%s could not be evaluated: %s", saved.url, str(error).strip().splitlines()[-1])


def _track(experiment: Experiment, run: Run, status: str) -> bool:
    """The last sync, on the driver; an unreachable MLflow costs the run only this wait. False if it is incomplete."""
    mlflow = replica(experiment, run)
    return mlflow is None or BackgroundSync(mlflow).close(timeout_s=LAST_SYNC_S, status=status)
