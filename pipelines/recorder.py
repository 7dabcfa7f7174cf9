"""The controller's callback: every tick into the local history, then MLflow is poked. Never raises into training."""

import dataclasses
import logging
import os
from typing import Any

from ray.train import Checkpoint, UserCallback

from pipelines import checkpoint as checkpoints
from pipelines import tracking
from pipelines.evaluation.requirements import best_metric
from pipelines.experiment import Experiment
from pipelines.history import History
from pipelines.meter import STARTED, merged
from pipelines.run import Run
from pipelines.system_metrics import SystemMetrics
from pipelines.tracking import BackgroundSync, MLflowReplica, SyncResult
from pipelines.watching import Watch

log = logging.getLogger(__name__)


class Recorder(UserCallback):
    """Runs in the controller; what it needs is made there, at the first report."""

    def __init__(self, run: Run, replica: MLflowReplica | None, experiment: Experiment | None = None) -> None:
        self._run = run
        self._history_file = run.history  # as the driver sees it: the controller may run in another folder
        self._replica = replica
        self._experiment = experiment
        self._history: History | None = None

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        try:
            self._record(merged(metrics), charts=checkpoint is not None)
            if checkpoint is not None:
                self._run.keep_history(self._history_file)
        except Exception:
            # An exception here would end the run (Ray does not retry a controller's error).
            log.exception("a tick could not be recorded; training goes on")

    def _record(self, metrics: dict[str, float], charts: bool) -> None:
        if self._history is None:
            self._history = History(self._history_file)
            self._system = SystemMetrics(self._history_file.parent)
            self._watch = Watch(self._experiment, self._history_file) if self._experiment else None
            self._sync = BackgroundSync(self._replica) if self._replica else None
        nimg = int(metrics["progress/nimg"])
        if STARTED in metrics:
            self._recover(self._history, nimg)
        self._history.append(nimg, metrics | self._system())
        if self._watch:
            self._look(self._watch, nimg, charts)
        if self._sync:
            self._sync.poke()

    def _look(self, watch: Watch, nimg: int, charts: bool) -> None:
        try:
            watch.note(self._run.url)
            if charts:
                watch.draw(self._run.url, nimg)
        except Exception:
            log.exception("alarms and charts are left for the next tick; training goes on")

    def _recover(self, history: History, before: int) -> None:
        try:
            self._run.recover_ticks(history, before)
        except Exception:
            log.exception("ticks that a restart may have left out are not looked for; training goes on")


def replica(experiment: Experiment, run: Run) -> MLflowReplica | None:
    """The MLflow side of a run; None without a tracking uri."""
    config = experiment.tracking
    if config.uri is None:
        return None
    return MLflowReplica(
        uri=config.uri,
        experiment=config.experiment,
        run_name=experiment.name,
        params=experiment.flatten(),
        tags={"alae.algorithm": experiment.algorithm.kind},
        spool=run.spool,
        run_url=run.url,
        parent_run_id=config.parent_run_id,
        best_metric=best_metric(experiment),
    )


def replay(run_url: str, uri: str | None) -> SyncResult:
    """Push to MLflow what it lacks of a run that has ended; raises ValueError if there is no run or no server."""
    run = Run(run_url.rstrip("/"))
    experiment = _as_last_saved(run)
    if uri is not None:
        experiment = dataclasses.replace(
            experiment,
            tracking=dataclasses.replace(experiment.tracking, uri=tracking.absolute_uri(uri, os.getcwd())),
        )
    mlflow = replica(experiment, run)
    if mlflow is None:
        raise ValueError(f"the run {experiment.name!r} was not tracked; name an MLflow server with --uri")
    try:
        ended = run.finished_at(experiment) is not None
        return mlflow.sync(final=ended, status="FINISHED" if ended else None)
    except Exception as error:
        where = tracking.redact(experiment.tracking.uri or "")
        raise RuntimeError(f"MLflow at {where} does not take the run: {tracking.redact(str(error))}") from error


def _as_last_saved(run: Run) -> Experiment:
    """The run's experiment, judged as its newest checkpoint says: a resume may have changed what is measured."""
    experiment, newest = run.experiment(), checkpoints.latest(run.url)
    if newest is None:
        return experiment
    saved = checkpoints.read_experiment(newest.url)
    judged = dataclasses.replace(experiment.tracking, best_metric=saved.tracking.best_metric)
    return dataclasses.replace(experiment, evaluation=saved.evaluation, tracking=judged)
