"""The controller's callback: every tick into the local history, then MLflow is poked. Never raises into training."""

import logging
from typing import Any

from ray.train import Checkpoint, UserCallback
from ray.train.v2.api.context import TrainRunContext

from pipelines.experiment import Experiment
from pipelines.history import History
from pipelines.run import Run
from pipelines.system_metrics import SystemMetrics
from pipelines.tracking import BackgroundSync, MLflowReplica

log = logging.getLogger(__name__)

# How the ranks' values become one: the slowest rank is what the user waits for.
_WORST = {"time/data_wait_frac": max, "memory/peak_gib": max, "time/images_per_s": min}


class Recorder(UserCallback):
    """Runs in the controller; what it needs is made there, at the first report."""

    def __init__(self, run: Run, replica: MLflowReplica | None) -> None:
        self._run = run
        self._replica = replica
        self._history: History | None = None

    def after_report(
        self, run_context: TrainRunContext, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        try:
            self._record(merged(metrics))
        except Exception:
            # An exception here would end the run (Ray does not retry a controller's error).
            log.exception("a tick could not be recorded; training goes on")

    def _record(self, metrics: dict[str, float]) -> None:
        if self._history is None:
            self._history = History(self._run.history)
            self._system = SystemMetrics(self._run.spool)
            self._sync = BackgroundSync(self._replica) if self._replica else None
        self._history.append(int(metrics["progress/nimg"]), metrics | self._system())
        if self._sync:
            self._sync.poke()


def merged(ranks: list[dict[str, float]]) -> dict[str, float]:
    """One record of a tick from one per rank: means over equal shares of the batch, sums or worst cases of the rest."""
    record = {}
    for name in ranks[0]:
        values = [rank[name] for rank in ranks]
        combine = _WORST.get(name, lambda values: sum(values) / len(values))
        record[name] = values[0] if min(values) == max(values) else combine(values)
    return record


def replica(experiment: Experiment, run: Run) -> MLflowReplica | None:
    """The MLflow side of a run; None without a tracking uri."""
    tracking = experiment.tracking
    if tracking.uri is None:
        return None
    return MLflowReplica(
        uri=tracking.uri,
        experiment=tracking.experiment,
        run_name=experiment.name,
        params=experiment.flatten(),
        tags={"alae.algorithm": experiment.algorithm.kind},
        spool=run.spool,
        run_url=run.url,
        parent_run_id=tracking.parent_run_id,
    )
