"""`alae runs` and `alae compare`: runs side by side, as tables for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from alae_core.alarms import Raised
from alae_core.metrics.estimate import Estimate, differ
from pipelines import checkpoint, storage
from pipelines.evaluation import requirements
from pipelines.evaluation.keeping import place_of, run_of
from pipelines.evaluation.readings import Reading, best, readings, series
from pipelines.experiment import Experiment
from pipelines.history import EvaluationError, read_evaluations
from pipelines.run import EXPERIMENT, FAILURE, Run
from pipelines.watching import read_alarms

Z = 2.0
"""Standard errors of a difference that count as noise."""
UNKNOWN = "-"


@dataclass(frozen=True)
class RunState:
    """What is known of one run from its folder."""

    name: str
    algorithm: str = UNKNOWN
    nimg: int | None = None
    """Of its newest checkpoint."""
    state: str = "unreadable"
    """finished, failed, unfinished, new (without a checkpoint), or unreadable."""
    newest: Reading | None = None
    best: Reading | None = None
    best_place: str | None = None
    """Where the best checkpoint lies; None where there is none any more."""
    alarms: tuple[Raised, ...] = ()


def runs(place: str, metric: str | None = None) -> list[RunState]:
    """The runs in a folder of runs, by name, with their values of `metric`: by default, what each tells its best one by.

    Raises ValueError where there is none.
    """
    place = place.rstrip("/")
    names = [name for name in storage.list_dir(place) if storage.exists(f"{place}/{name}/{EXPERIMENT}")]
    if not names:
        raise ValueError(f"{place} holds no runs; name the folder or URL that training.storage named")
    return [_run_state(Run(f"{place}/{name}"), name, metric) for name in names]


def runs_table(found: Sequence[RunState]) -> str:
    """A line for each run, and below them one for each of their alarms."""
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
    alarms = [f"{run.name}: {alarm.name} {alarm}" for run in found for alarm in run.alarms]
    return "\n".join([_aligned(rows), *([""] if alarms else []), *alarms])


def compare(first: str, second: str) -> str:
    """A table of the metrics that were taken of both: two checkpoints, or of a run the newest one that was measured.

    A metric that was not taken alike of both is told with the reason. Raises ValueError where no metric was.
    """
    sides = [_side(place.rstrip("/")) for place in (first, second)]
    a, b = (side.by_key for side in sides)
    shared = [key for key in a if key in b]
    if not shared:
        raise ValueError(
            f"{sides[0].url} was measured by {', '.join(a)} and {sides[1].url} by {', '.join(b)}: nothing to compare; "
            "take one metric of both with alae evaluate CHECKPOINT --metrics NAME"
        )
    unlike = {key: reason for key in shared if (reason := a[key].unlike(b[key]))}
    if len(unlike) == len(shared):
        raise ValueError(f"{first} and {second} do not compare by {', '.join(shared)}: {unlike[shared[0]]}")
    heading = ("", "a", "b", f"noise is {Z:g} standard errors of the difference")
    rows = [heading, *(_row(a[key], b[key], unlike.get(key, "")) for key in shared)]
    heads = [f"{mark}: {side.url} at {side.nimg / 1000:g} kimg" for mark, side in zip("ab", sides, strict=True)]
    return "\n".join([*heads, "", _aligned(rows)])


@dataclass(frozen=True)
class _Side:
    """One checkpoint and all that was measured of it."""

    url: str
    nimg: int
    by_key: dict[str, Reading]


def _run_state(run: Run, name: str, metric: str | None) -> RunState:
    newest = checkpoint.latest(run.url)
    try:
        experiment = run.experiment() if newest is None else checkpoint.read_experiment(newest.url)
        key = metric or requirements.best_metric(experiment)
    except (ValueError, RuntimeError):
        return RunState(name)
    found = series(read_evaluations(run.url), key) if key else []
    leader = best(found)
    return RunState(
        name=name,
        algorithm=experiment.algorithm.kind,
        nimg=newest.nimg if newest else None,
        state=_state(run, newest, experiment),
        newest=found[-1] if found else None,
        best=leader,
        best_place=place_of(run.url, leader.checkpoint) if leader else None,
        alarms=read_alarms(run.url),
    )


def _state(run: Run, newest: checkpoint.CheckpointRef | None, experiment: Experiment) -> str:
    if newest is not None and newest.nimg >= experiment.schedule.total_nimg:
        return "finished"
    if storage.exists(f"{run.url}/{FAILURE}"):
        return "failed"
    return "unfinished" if newest else "new"


def _side(place: str) -> _Side:
    """What was measured of a checkpoint, or of the newest of a run that was; what the run took itself counts first."""
    is_run = storage.exists(f"{place}/{EXPERIMENT}")
    if not is_run and not storage.exists(f"{place}/{checkpoint.MANIFEST}"):
        raise ValueError(f"{place} is neither a run nor a checkpoint; name one of the two")
    evaluations = [each for each in read_evaluations(place if is_run else run_of(place)) if each.measured]
    nimg = None if is_run else checkpoint.read_manifest(place)["nimg"]
    if is_run and evaluations:
        nimg = max(each.nimg for each in evaluations)
    taken = sorted((each for each in evaluations if each.nimg == nimg), key=lambda each: each.own)
    by_key: dict[str, Reading] = {}
    refused = None
    for each in taken:
        try:
            by_key |= readings(each)
        except EvaluationError as error:
            refused = error
    if not by_key:
        raise ValueError(str(refused) if refused else f"nothing was measured of {place} yet; use alae evaluate {place}")
    url = next(iter(by_key.values())).checkpoint
    return _Side(url if is_run else place, nimg or 0, by_key)


def _row(a: Reading, b: Reading, unlike: str) -> tuple[str, ...]:
    if unlike:
        return a.key, UNKNOWN, UNKNOWN, f"not compared: {unlike}"
    return a.key, str(a.estimate), str(b.estimate), _verdict(a, b)


def _verdict(a: Reading, b: Reading) -> str:
    if a.key in a.protocol.baselines:
        return "a baseline, of real images alone"
    if _without_error(a.estimate) or _without_error(b.estimate):
        return f"differ by {abs(a.estimate.value - b.estimate.value):.3g}; no error bar to judge that by"
    found = differ(a.estimate, b.estimate, z=Z)
    noise = f"differ by {abs(found.difference):.3g}, noise {Z * found.standard_error:.3g}"
    if not found:
        return f"no difference beyond the noise: {noise}"
    better = "a is better" if a.better_than(b) else "b is better" if b.better_than(a) else "different"
    return f"{better}: {noise}"


def _without_error(estimate: Estimate) -> bool:
    return estimate.standard_error is None


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
