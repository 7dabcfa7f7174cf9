"""Builds a TorchTrainer from an Experiment: scaling, failures, checkpoints, evaluation, callbacks, data."""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError
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
from pipelines.storage.address import redact
from pipelines.tracking.background import BackgroundSync
from pipelines.tracking.track import replica
from pipelines.training import phases, places, preflight
from pipelines.training.cadence import Due
from pipelines.training.callback import Recorder
from pipelines.training.progress import follow
from pipelines.training.worker import train_worker

LAST_SYNC_S = 120.0
STOPPED_SYNC_S = 5.0
"""Longest wait for MLflow after a signal."""

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
    restart: bool = False,
    on_phase: phases.Say = phases.silently,
) -> Outcome:
    """Train `experiment` to its end, from where it stopped last; on the Ray cluster in use, or on a local one.

    `on_tick`, `on_evaluation` and `on_alarm` are called in this process, from a thread of their own, with each new record;
    `on_phase` from any thread, with each phase around the ticks. With `restart` an earlier run of the name is moved aside
    first. Raises ValueError for a mistake that the user can correct, before resources are taken, RuntimeError if the
    training fails, and KeyboardInterrupt with a sentence if a signal ends it.
    """
    experiment = places.reachable(experiment, partial(_join, on_phase))
    on_phase(f"checking the experiment and the dataset {experiment.data.path}")
    run = Run.of(experiment)
    experiment = run.with_start(experiment)
    datasets = preflight.check(experiment)
    if restart and (aside := run.restart()):
        on_phase(f"moved the earlier run to {aside}; leave --restart out to go on with the new one")
    run.claim(experiment, datasets, preflight.file_digests(experiment))
    experiment = run.changed(experiment)
    on_phase(f"run folder {run.url}")
    finished = run.finished_at(experiment) is not None
    run.fetch_history()
    if not finished:
        if experiment.evaluation.enabled:
            names = metric_choice.metric_names(experiment.evaluation, len(datasets))
            on_phase(f"preparing the evaluation by {', '.join(names)}")
            requirements.prepare(names, datasets)
        _connect(on_phase)
        preflight.check_capacity(experiment)
        run.begin()
        _forget_deleted_checkpoints(run)
        if experiment.training.init_from and checkpoint.latest(run.url) is None:
            log.warning("%s starts from the networks of %s", experiment.name, experiment.training.init_from)
        if experiment.tracking.uri:
            on_phase(f"MLflow: {redact(experiment.tracking.uri)}")
        ticked = _ending(experiment, on_tick, on_phase)
        watch = Watch(experiment, run.history)
        _fit(experiment, run, partial(follow, run, ticked, on_evaluation, watch, on_alarm), on_phase)
    if experiment.tracking.uri:
        on_phase("bringing MLflow up to date")
    return Outcome(run, experiment, finished, _track(experiment, run, "FINISHED"))


def _join(on_phase: phases.Say) -> None:
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        on_phase(f"joining the Ray cluster at {address}" if address else "starting Ray on this machine")
        connect()


def _connect(on_phase: phases.Say) -> None:
    """Connect to Ray, saying so, and name its dashboard where it has one."""
    _join(on_phase)
    if ray.is_initialized() and (dashboard := ray._private.worker.get_dashboard_url()):
        on_phase(f"Ray dashboard: http://{dashboard}")


def _ending(
    experiment: Experiment, on_tick: Callable[[Tick], None] | None, on_phase: phases.Say
) -> Callable[[Tick], None]:
    """`on_tick`, and the phase that follows the last tick."""

    def ticked(tick: Tick) -> None:
        if on_tick:
            on_tick(tick)
        if tick.nimg >= experiment.schedule.total_nimg:
            evaluating = " and evaluating it" if experiment.evaluation.enabled else ""
            on_phase(f"trained to the end; saving the last checkpoint{evaluating}")

    return ticked


def _forget_deleted_checkpoints(run: Run) -> None:
    """Remove Ray's record of the run's checkpoints where one of them was deleted: Ray would refuse the run's folder."""
    record = f"{run.url}/{CHECKPOINT_MANAGER_SNAPSHOT_FILENAME}"
    if storage.exists(record):
        named = {result["checkpoint_dir_name"] for result in storage.read_json(record)["checkpoint_results"]}
        if not named <= {layout.checkpoint_name(saved.nimg) for saved in checkpoint.finished(run.url)}:
            storage.delete_file(record)


def _fit(
    experiment: Experiment,
    run: Run,
    following: Callable[[], AbstractContextManager[None]],
    on_phase: phases.Say = phases.silently,
) -> None:
    try:
        keep_best(run.url, experiment)
        with following(), phases.followed(run.url, on_phase):
            scaling = experiment.scaling
            gpus = f" and {scaling.gpus_per_worker:g} GPU" if scaling.gpus_per_worker else ""
            workers = f"{scaling.workers} worker{'s' if scaling.workers > 1 else ''}"
            on_phase(f"waiting for {workers} x {scaling.cpus_per_worker:g} CPU{gpus}", _free)
            _trainer(experiment, run).fit()
            # A worker lost with its last checkpoint uploaded but not reported leaves nothing to train, nor to report.
            run.recover_ticks(History(run.history))
            run.raise_failure()
            for sentence in run.damage():
                log.warning("%s; other images replaced its images in the training", sentence)
            _evaluate_missed(experiment, run)
            _draw_to_the_end(experiment, run)
            _delete_surplus_checkpoints(experiment, run)
    except KeyboardInterrupt:
        _track(experiment, run, "KILLED", STOPPED_SYNC_S)
        raise KeyboardInterrupt(f"stopped; {_kept(run)}") from None
    except Exception as error:
        _track(experiment, run, "FAILED")
        if isinstance(error, TrainingFailedError | RayError):
            raise RuntimeError(_sentence(error, run)) from error
        raise


def _free() -> str:
    """CPUs and GPUs of the cluster that nobody has reserved."""
    total, free = ray.cluster_resources(), ray.available_resources()
    kinds = [kind for kind in ("CPU", "GPU") if total.get(kind)]
    return " and ".join(f"{free.get(kind, 0.0):g} of {total[kind]:g} {kind}s" for kind in kinds) + " free"


def _delete_surplus_checkpoints(experiment: Experiment, run: Run) -> None:
    """Delete finished checkpoints beyond the newest ones to keep.

    Ray's retention deletes only those that it registered: a worker killed between a checkpoint's upload and its
    registration leaves one that Ray does not know.
    """
    keep = experiment.training.keep_checkpoints
    for surplus in checkpoint.finished(run.url)[:-keep] if keep else ():
        storage.delete_tree(surplus.url)


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
    return f"training failed on {where}: {lines[-1]} ({_kept(run, goes_on=_may_pass(cause))})"


def _may_pass(cause: BaseException) -> bool:
    """Whether the same command may succeed: a process, node or store was lost, rather than an error raised by the training."""
    original = getattr(cause, "_base_exc", cause)
    return isinstance(original, RayError | OSError) and not isinstance(original, RayTaskError)


def _kept(run: Run, goes_on: bool = True) -> str:
    """The progress that is stored, and how to go on from there where that is possible."""
    newest = checkpoint.latest(run.url)
    if newest is None:
        return "no checkpoint was written yet" + ("; the same command starts again" if goes_on else "")
    safe = f"{newest.nimg / 1000:g} kimg are safe"
    return f"{safe}, and the same command goes on from there" if goes_on else f"{safe} in {newest.url}"


class _Trainer(TorchTrainer):
    """Ray's trainer without its handler of SIGINT, which ends the process with status 1 and no word."""

    def _register_sigint_handler(self, controller: Any) -> None:
        """Keep the command's own handler."""


def _trainer(experiment: Experiment, run: Run) -> TorchTrainer:
    scaling = experiment.scaling
    resources = {"CPU": scaling.cpus_per_worker}
    if scaling.gpus_per_worker:
        resources["GPU"] = scaling.gpus_per_worker
    folder, _, name = run.url.rpartition("/")
    # Ours rather than Ray's own for the folder: it waits for a silent store, which would otherwise end the run.
    filesystem, storage_path = storage.pyarrow_filesystem(folder)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return _Trainer(
        train_worker,
        train_loop_config={
            "experiment": experiment.to_json(),
            "run_url": run.url,
            "commit": commit(),
            "changes": [change.record() for change in run.changes()],
        },
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
    remote: Any = ray.remote(evaluate_checkpoint).options(**_evaluation_resources(experiment))
    changed = bool(run.changes())
    for saved in checkpoint.finished(run.url):
        schedule = checkpoint.read_experiment(saved.url).schedule if changed else experiment.schedule
        before = saved.nimg - schedule.level_before(saved.nimg).batch_size
        due = Due.between(replace(experiment, schedule=schedule), before, saved.nimg).validate
        if due and not storage.exists(f"{run.url}/{layout.evaluation_path(saved.nimg)}"):
            try:
                ray.get(remote.remote(run.url, saved.url, experiment.data.path))
            except RayError as error:
                log.warning("%s could not be evaluated: %s", saved.url, str(error).strip().splitlines()[-1])


def _track(experiment: Experiment, run: Run, status: str, timeout_s: float = LAST_SYNC_S) -> bool:
    """The last sync, on the driver; an unreachable MLflow costs the run only this wait. False if it is incomplete."""
    mlflow = replica(experiment, run)
    return mlflow is None or BackgroundSync(mlflow).close(timeout_s=timeout_s, status=status)
