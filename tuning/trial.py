"""One trial: a real training run, under its own name, reported to Tune at each of its evaluations, and by an alarm."""

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
"""Of a report that ends its trial: the alarm's name and sentence."""


def run_name(experiment: Experiment, trial_id: str) -> str:
    """The name of a trial's run."""
    return f"{experiment.name}-{trial_id}"


def trial(config: dict[str, Any], base: str, metric: str, stop_on_alarm: bool) -> None:
    """Trainable: `config` maps paths to values, `base` is the Experiment as JSON. A restored trial resumes its run."""
    experiment = Experiment.from_json(base)
    sampled = override(experiment, [f"{path}={value}" for path, value in config.items()])
    reports = Reports(metric)
    train(
        replace(sampled, name=run_name(experiment, tune.get_context().get_trial_id())),
        on_evaluation=reports.evaluation,
        on_alarm=reports.alarm if stop_on_alarm else None,
    )


class Reports:
    """What a trial tells Tune."""

    def __init__(self, metric: str) -> None:
        # Tune refuses a report without the metric, also one that only ends the trial.
        self._last: dict[str, Any] = {metric: math.nan, PROGRESS: 0, "checkpoint": ""}

    def evaluation(self, evaluation: Evaluation) -> None:
        """Report what was measured of a checkpoint."""
        measured = {name: value for name, value in evaluation.metrics.items() if value is not None}
        self._last |= measured | {PROGRESS: evaluation.nimg, "checkpoint": evaluation.checkpoint or ""}
        tune.report(self._last)

    def alarm(self, alarm: Raised) -> None:
        """Report an alarm that ends the trial, with what was measured last."""
        if alarm.stops:
            reached = max(alarm.nimg, self._last[PROGRESS])
            tune.report(self._last | {PROGRESS: reached, ALARM: f"{alarm.name} {alarm}"})


def alarmed(trial_id: str, result: Mapping[str, Any]) -> bool:
    """Whether Tune is to end the trial that has reported `result`."""
    return bool(result.get(ALARM))
