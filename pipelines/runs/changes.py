"""Declared changes of a run's settings: from a checkpoint on, every attempt trains with the changed experiment.

The schedule and the order of images are functions of the experiment and nimg, so a resume needs nothing else to be exact.
`changes.json` holds all changes of a run; a checkpoint's manifest holds those in force when it was saved.
"""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from alae_core.schedule import ProgressiveSchedule, Segment
from alae_core.state import TrainState
from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.experiment.override import CHANGEABLE, changeable, differences, override
from pipelines.runs import checkpoint, layout
from pipelines.runs.checkpoint import CheckpointRef


@dataclass(frozen=True)
class Change:
    """Settings that hold for every batch from image `nimg` on."""

    nimg: int
    overrides: tuple[str, ...]
    """As `override` reads them, such as `schedule.lr=0.001`."""
    differences: tuple[str, ...]
    """Each setting with its value before and after."""
    time: float
    """Unix seconds of the declaration."""

    def __str__(self) -> str:
        return f"from {self.nimg / 1000:g} kimg on {'; '.join(self.differences)}"

    def record(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {**dataclasses.asdict(self), "overrides": [*self.overrides], "differences": [*self.differences]}


def read_changes(run_url: str) -> tuple[Change, ...]:
    """The changes declared of a run, in order; none if there are none. Raises ValueError if their file is damaged."""
    path = f"{run_url}/{layout.CHANGES}"
    if not storage.exists(path):
        return ()
    try:
        return tuple(
            Change(int(each["nimg"]), tuple(each["overrides"]), tuple(each["differences"]), float(each["time"]))
            for each in storage.read_json(path)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); restore it to resume the run") from error


def with_changes(experiment: Experiment, changes: Iterable[Change]) -> Experiment:
    """The experiment as the changes leave it, applied in order."""
    for change in changes:
        experiment = override(experiment, change.overrides)
    return experiment


def in_force(run_url: str, experiment: Experiment) -> Experiment:
    """The experiment by which the run in `run_url` trains on from its newest checkpoint.

    Raises ValueError if the checkpoint of a change is gone, or the newest checkpoint was trained without a change before it.
    """
    changes = read_changes(run_url)
    if not changes:
        return experiment
    newest = checkpoint.latest(run_url)
    reached = newest.nimg if newest else 0
    if late := [change for change in changes if change.nimg > reached]:
        raise ValueError(
            f"{run_url} changes {late[0]}, and its newest checkpoint is at {reached / 1000:g} kimg; restore the checkpoint "
            f"of the change, or take the change out of {layout.CHANGES}"
        )
    trained = checkpoint.read_manifest(newest.url).get("changes", []) if newest else []
    if trained != [change.record() for change in changes if change.nimg < reached]:
        raise ValueError(
            f"{run_url} was trained to {reached / 1000:g} kimg without a change that {layout.CHANGES} dates before; take "
            "that change out of the file, and declare it again from here"
        )
    return with_changes(experiment, changes)


def declare(run_url: str, assignments: Sequence[str]) -> Change:
    """Change settings of a run from its newest checkpoint on; nothing trains yet.

    Raises ValueError if the run has no checkpoint, or for a setting that cannot change in mid-run or does not fit there.
    """
    newest = checkpoint.latest(run_url)
    if newest is None:
        raise ValueError(f"{run_url} has no finished checkpoint; start it again with alae train and the new settings")
    earlier = read_changes(run_url)
    before = with_changes(
        checkpoint.read_experiment(newest.url), [each for each in earlier if each.nimg == newest.nimg]
    )
    after = override(before, assignments)
    found = differences(before, after)
    if not found:
        raise ValueError(f"{', '.join(assignments) or 'nothing'} changes nothing of {run_url}; give another value")
    if fixed := [path for path in found if not changeable(path, before, after)]:
        raise ValueError(
            f"{found[fixed[0]]} cannot change in mid-run; {', '.join(CHANGEABLE)} and weights in algorithm.loss can. Start "
            f"a new run from this one's networks with name=... training.init_from={run_url}"
        )
    after.validate()
    _check_position(before.schedule, after.schedule, newest.nimg)
    if before.algorithm != after.algorithm:
        _check_state(after, newest)
    change = Change(newest.nimg, tuple(assignments), tuple(found.values()), round(time.time(), 3))
    storage.write_json_verified(f"{run_url}/{layout.CHANGES}", [each.record() for each in (*earlier, change)])
    return change


def _check_position(before: ProgressiveSchedule, after: ProgressiveSchedule, nimg: int) -> None:
    """Refuse a schedule in which image `nimg` is not the start of a batch of the same level as before."""
    kimg = nimg / 1000
    if after.total_nimg <= nimg:
        raise ValueError(
            f"the run would end at {after.total_nimg / 1000:g} kimg, and it has reached {kimg:g}; give a longer "
            "schedule.stable_kimg"
        )
    if _begun(before.segments, nimg) != _begun(after.segments, nimg):
        raise ValueError(
            f"the levels before {kimg:g} kimg would begin elsewhere; change the entries of schedule.stable_kimg and "
            "schedule.batch_size of this level and later ones only"
        )
    now = next(each for each in after.segments if nimg < each.stop)
    seen = nimg - now.start
    if seen % now.batch_size:
        raise ValueError(
            f"schedule.batch_size={now.batch_size} does not divide the {seen} images of level {now.level} that the newest "
            f"checkpoint, at {kimg:g} kimg, has seen; use a divisor, or train on to a checkpoint where it divides them"
        )


def _begun(segments: Iterable[Segment], nimg: int) -> list[tuple[int, int]]:
    """Level and first image of each segment that begins before image `nimg`."""
    return [(each.level, each.start) for each in segments if each.start < nimg]


def _check_state(experiment: Experiment, newest: CheckpointRef) -> None:
    """Refuse a change after which the checkpoint would not load: a weight of 0 may leave out an update and its moments."""
    training = experiment.training
    state = TrainState.build(
        experiment.algorithm, experiment.seed, training.optimizer, averages_from=training.averages_from
    )
    state.load_state_dict(checkpoint.read_state(newest.url))
