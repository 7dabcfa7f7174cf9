"""Loads the networks under evaluation from a checkpoint, or from the newest one of a run."""

from collections.abc import Sequence
from typing import Any

from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.experiment.paths import with_absolute_paths
from pipelines.runs import checkpoint


def load_subject(url: str, manifest: dict[str, Any] | None = None) -> tuple[Experiment, Subject, int]:
    """Return the experiment of the checkpoint at `url`, its averaged networks at their level of training, and its nimg.

    `manifest` is the checkpoint's manifest if the caller has read it already.
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
"""Fields and groups of the experiment that an evaluation may change."""


def load(place: str, overrides: Sequence[str] = ()) -> tuple[str, Experiment, Subject, int]:
    """Return URL, experiment, averaged networks and nimg of the checkpoint at `place`, or of the newest of the run there.

    Raises ValueError if there is none, or if `overrides` changes fields outside `OVERRIDABLE`.
    """
    url = checkpoint.at(place)
    for assignment in overrides:
        if not assignment.startswith(SETTINGS):
            raise ValueError(f'"{assignment}" is not for an evaluation; it may set evaluation.* and data.path')
    experiment, subject, nimg = load_subject(url)
    return url, with_absolute_paths(override(experiment, overrides)), subject, nimg
