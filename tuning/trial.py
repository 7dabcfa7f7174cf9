"""One trial: a training run with its own name that reports each evaluation, and an alarm that ends it, to Tune."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray import tune

from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.monitor import Raised
from pipelines.training.trainer import train

PROGRESS = "nimg"
ALARM = "alarm"
"""Key of an alarm's name and sentence in the report that ends a trial."""


def run_name(experiment: Experiment, trial_id: str) -> str:
    """Name of a trial's run."""
    return f"{experiment.name}-{trial_id}"


def trial(config: dict[str, Any], base: str, metric: str, stop_on_alarm: bool) -> None:
    """Trainable for Tune; `config` maps paths to values, `base` is the Experiment as JSON. A restored trial resumes its run."""
    experiment = Experiment.from_json(base)
    sampled = override(experiment, [f"{path}={value}" for path, value in config.items()])
    reports = Reports(metric)
    train(
        replace(sampled, name=run_name(experiment, tune.get_context().get_trial_id())),
        on_evaluation=reports.evaluation,
        on_alarm=reports.alarm if stop_on_alarm else None,
    )


class Reports:
    """Reports of a trial to Tune."""

    def __init__(self, metric: str) -> None:
        # Tune refuses a report without the metric, even one that only ends the trial.
        self._last: dict[str, Any] = {metric: math.nan, PROGRESS: 0, "checkpoint": ""}

    def evaluation(self, evaluation: Evaluation) -> None:
        """Report the metrics of a checkpoint."""
        measured = {name: value for name, value in evaluation.metrics.items() if value is not None}
        self._last |= measured | {PROGRESS: evaluation.nimg, "checkpoint": evaluation.checkpoint or ""}
        tune.report(self._last)

    def alarm(self, alarm: Raised) -> None:
        """Report an alarm that ends the trial, with the last metrics."""
        if alarm.stops:
            reached = max(alarm.nimg, self._last[PROGRESS])
            tune.report(self._last | {PROGRESS: reached, ALARM: f"{alarm.name} {alarm}"})


def alarmed(trial_id: str, result: Mapping[str, Any]) -> bool:
    """Whether Tune should end the trial that has reported `result`."""
    return bool(result.get(ALARM))
