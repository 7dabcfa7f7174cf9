"""The controller's callback: it appends every tick to the local history and wakes the MLflow writer. It never raises."""

import logging
from typing import Any

from ray.train import Checkpoint, UserCallback

from pipelines.experiment import Experiment
from pipelines.runs.history import History
from pipelines.runs.monitor import Watch
from pipelines.runs.run import Run
from pipelines.tracking.background import BackgroundSync
from pipelines.tracking.replica import MLflowReplica
from pipelines.training import phases
from pipelines.training.meter import STARTED, merged
from pipelines.training.system_metrics import SystemMetrics

log = logging.getLogger(__name__)


class Recorder(UserCallback):
    """Runs in Ray Train's controller and builds its writers there, at the first report."""

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

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        rank, error = min(worker_exceptions.items(), key=lambda each: each[0])
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        phases.enter(self._run.url, phases.LOST, f"rank {rank} failed: {reason}")

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
