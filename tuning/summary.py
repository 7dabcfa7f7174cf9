"""The trials of a search, best first."""

import math
from dataclasses import dataclass
from typing import Any

from ray.tune import ResultGrid

from pipelines.experiment.metric_choice import Deciding
from tuning.trial import ALARM, PROGRESS


@dataclass(frozen=True)
class TrialResult:
    """Result of one trial: its settings, its length, its last value of the metric with that checkpoint, and its error."""

    name: str
    config: dict[str, Any]
    kimg: float
    metric: str
    value: float | None
    checkpoint: str
    error: str | None = None
    alarm: str | None = None
    """Name and sentence of the alarm that ended the trial."""


def ranked(results: ResultGrid, decides: Deciding) -> list[TrialResult]:
    """Best first by the last value of the metric that decides; behind them those that an alarm ended, and those without one."""
    trials = [_trial(results[index], decides.logged) for index in range(len(results))]
    sign = -1.0 if decides.higher else 1.0
    return sorted(trials, key=lambda trial: (trial.value is None, trial.alarm is not None, sign * (trial.value or 0.0)))


def _trial(result: Any, metric: str) -> TrialResult:
    measured = result.metrics or {}
    value = measured.get(metric)
    return TrialResult(
        name=str(measured.get("trial_id", "?")),
        config=dict(result.config or {}),
        kimg=float(measured.get(PROGRESS, 0)) / 1000,
        metric=metric,
        value=None if value is None or math.isnan(value) else value,
        checkpoint=str(measured.get("checkpoint", "")),
        error=_last_line(result.error),
        alarm=measured.get(ALARM),
    )


def table(trials: list[TrialResult]) -> str:
    """The trials as lines for a terminal."""
    if not trials:
        return "no trials"
    lines = [f"{'trial':<16} {'kimg':>8} {trials[0].metric:>22}  settings"]
    for trial in trials:
        value = "-" if trial.value is None else f"{trial.value:.3f}"
        settings = "  ".join(f"{path}={_short(setting)}" for path, setting in trial.config.items())
        lines.append(f"{trial.name:<16} {trial.kimg:8.2f} {value:>22}  {settings}")
    lines += [f"{trial.name} was ended by {trial.alarm}" for trial in trials if trial.alarm]
    lines += [f"{trial.name} failed: {trial.error}" for trial in trials if trial.error]
    return "\n".join([*lines, f"best checkpoint: {trials[0].checkpoint or '-'}"])


def _last_line(error: Exception | None) -> str | None:
    return None if error is None else (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
