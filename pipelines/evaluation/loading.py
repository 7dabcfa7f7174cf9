"""From a checkpoint, or the newest one of a run, to the networks under evaluation."""

from collections.abc import Sequence
from typing import Any

from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.experiment.paths import with_absolute_paths
from pipelines.runs import checkpoint


def load_subject(url: str, manifest: dict[str, Any] | None = None) -> tuple[Experiment, Subject, int]:
    """The experiment of the checkpoint at `url`, its averaged networks at the level they were trained at, and its nimg.

    `manifest` is the checkpoint's, where it was read already.
    """
    experiment, algorithm, networks, nimg = checkpoint.load_averages(url, manifest)
    subject = Subject(
        algorithm=algorithm,
        networks=networks,
        level=experiment.schedule.level_before(nimg),
        channels=experiment.algorithm.channels,
        seed=experiment.seed,
    )
    return experiment, subject, nimg


SETTINGS = ("evaluation.", "data.path")
"""Of the checkpoint's experiment, what an evaluation may change."""


def load(place: str, overrides: Sequence[str] = ()) -> tuple[str, Experiment, Subject, int]:
    """The checkpoint at `place`, or the newest of the run there: its URL, its experiment, its averaged networks and its nimg.

    Raises ValueError where there is none, or `overrides` change more than an evaluation may.
    """
    url = checkpoint.at(place)
    for assignment in overrides:
        if not assignment.startswith(SETTINGS):
            raise ValueError(f'"{assignment}" is not for an evaluation; it may set evaluation.* and data.path')
    experiment, subject, nimg = load_subject(url)
    return url, with_absolute_paths(override(experiment, overrides)), subject, nimg
