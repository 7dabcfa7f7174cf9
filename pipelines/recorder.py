"""The controller's callback: every tick into the local history, then MLflow is poked. Never raises into training."""

import dataclasses
import logging
import os
from typing import Any

from ray.train import Checkpoint, UserCallback

from pipelines import tracking
from pipelines.experiment import Experiment
from pipelines.history import History
from pipelines.meter import STARTED, merged
from pipelines.run import Run
from pipelines.system_metrics import SystemMetrics
from pipelines.tracking import BackgroundSync, MLflowReplica, SyncResult

log = logging.getLogger(__name__)


class Recorder(UserCallback):
    """Runs in the controller; what it needs is made there, at the first report."""

    def __init__(self, run: Run, replica: MLflowReplica | None) -> None:
        self._run = run
        self._history_file = run.history  # as the driver sees it: the controller may run in another folder
        self._replica = replica
        self._history: History | None = None

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        try:
            self._record(merged(metrics))
            if STARTED in metrics[0] and self._history is not None:
                self._run.recover_ticks(self._history)
            if checkpoint is not None:
                self._run.keep_history(self._history_file)
        except Exception:
            # An exception here would end the run (Ray does not retry a controller's error).
            log.exception("a tick could not be recorded; training goes on")

    def _record(self, metrics: dict[str, float]) -> None:
        if self._history is None:
            self._history = History(self._history_file)
            self._system = SystemMetrics(self._history_file.parent)
            self._sync = BackgroundSync(self._replica) if self._replica else None
        self._history.append(int(metrics["progress/nimg"]), metrics | self._system())
        if self._sync:
            self._sync.poke()


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
    )


def replay(run_url: str, uri: str | None) -> SyncResult:
    """Push to MLflow what it lacks of a run that has ended; raises ValueError if there is no run or no server."""
    run = Run(run_url.rstrip("/"))
    experiment = run.experiment()
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
