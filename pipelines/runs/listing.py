"""`alae runs`: the runs of a storage folder, as a table for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from alae_core.alarms import Raised
from pipelines import storage
from pipelines.experiment import Experiment, metric_choice
from pipelines.runs import checkpoint, layout
from pipelines.runs.best import Standing, place_of, standing
from pipelines.runs.changes import Change, read_changes, with_changes
from pipelines.runs.monitor import read_alarms
from pipelines.runs.results import Reading
from pipelines.runs.run import Run

UNKNOWN = "-"


@dataclass(frozen=True)
class RunState:
    """The state of one run, as read from its folder."""

    name: str
    algorithm: str = UNKNOWN
    nimg: int | None = None
    """Images seen at its newest checkpoint."""
    state: str = "unreadable"
    """finished, failed, unfinished, new (without a checkpoint), or unreadable."""
    newest: Reading | None = None
    best: Reading | None = None
    best_place: str | None = None
    """Address of the best checkpoint; None if it was not kept."""
    alarms: tuple[Raised, ...] = ()
    changes: tuple[Change, ...] = ()


def runs(place: str, metric: str | None = None) -> list[RunState]:
    """The runs in a folder of runs, by name, with their values of `metric`; by default, of each run's own `best_metric`.

    Raises ValueError where there is none.
    """
    place = place.rstrip("/")
    names = [name for name in storage.list_dir(place) if storage.exists(f"{place}/{name}/{layout.EXPERIMENT}")]
    if storage.exists(f"{place}/{layout.EXPERIMENT}"):
        folder = place.rpartition("/")[0] or "."
        raise ValueError(f"{place} is a run; name the folder that holds it, as in alae runs {folder}")
    if not names:
        raise ValueError(f"{place} holds no runs; name the folder or URL that training.storage named")
    return [_run_state(Run(f"{place}/{name}"), name, metric) for name in names]


def runs_table(found: Sequence[RunState]) -> str:
    """A line for each run, and below them one for each of their declared changes and alarms."""
    rows = [("run", "algorithm", "kimg", "state", "metric", "newest", "best", "best checkpoint")]
    rows += [
        (
            run.name,
            run.algorithm,
            UNKNOWN if run.nimg is None else f"{run.nimg / 1000:g}",
            run.state,
            run.newest.key if run.newest else UNKNOWN,
            str(run.newest.estimate) if run.newest else UNKNOWN,
            str(run.best.estimate) if run.best else UNKNOWN,
            run.best_place or (f"at {run.best.nimg / 1000:g} kimg, not kept" if run.best else UNKNOWN),
        )
        for run in found
    ]
    notes = [f"{run.name}: changed {change}" for run in found for change in run.changes]
    notes += [f"{run.name}: {alarm.name} {alarm}" for run in found for alarm in run.alarms]
    return "\n".join([aligned(rows), *([""] if notes else []), *notes])


def _run_state(run: Run, name: str, metric: str | None) -> RunState:
    newest = checkpoint.latest(run.url)
    try:
        experiment = run.experiment() if newest is None else checkpoint.read_experiment(newest.url)
        changes = read_changes(run.url)
        experiment = with_changes(experiment, changes)
        key = metric_choice.key_of(metric) if metric else metric_choice.best_metric(experiment)
    except (ValueError, RuntimeError):
        return RunState(name)
    found = standing(run.url, key) if key else Standing()
    return RunState(
        name=name,
        algorithm=experiment.algorithm.kind,
        nimg=newest.nimg if newest else None,
        state=_state(run, newest, experiment),
        newest=found.newest,
        best=found.best,
        best_place=place_of(run.url, found.best.checkpoint) if found.best else None,
        alarms=read_alarms(run.url),
        changes=changes,
    )


def _state(run: Run, newest: checkpoint.CheckpointRef | None, experiment: Experiment) -> str:
    if newest is not None and newest.nimg >= experiment.schedule.total_nimg:
        return "finished"
    if storage.exists(f"{run.url}/{layout.FAILURE}"):
        return "failed"
    return "unfinished" if newest else "new"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """The rows as lines of text whose columns are padded to one width each."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
