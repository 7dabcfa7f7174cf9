"""One trial: a real training run, under its own name, reported to Tune at each of its evaluations."""

from dataclasses import replace
from typing import Any

from ray import tune

from pipelines.experiment import Experiment
from pipelines.history import Evaluation
from pipelines.override import override
from pipelines.trainer import train

PROGRESS = "nimg"


def run_name(experiment: Experiment, trial_id: str) -> str:
    """The name of a trial's run."""
    return f"{experiment.name}-{trial_id}"


def trial(config: dict[str, Any], base: str) -> None:
    """Trainable: `config` maps paths to values, `base` is the Experiment as JSON. A restored trial resumes its run."""
    experiment = Experiment.from_json(base)
    sampled = override(experiment, [f"{path}={value}" for path, value in config.items()])
    train(replace(sampled, name=run_name(experiment, tune.get_context().get_trial_id())), on_evaluation=_report)


def _report(evaluation: Evaluation) -> None:
    measured = {name: value for name, value in evaluation.metrics.items() if value is not None}
    tune.report(measured | {PROGRESS: evaluation.nimg, "checkpoint": evaluation.checkpoint or ""})
