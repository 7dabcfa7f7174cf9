"""`alae runs` and `alae compare`: runs side by side, as tables for the terminal."""

from dataclasses import dataclass

from alae_core.metrics.estimate import Estimate, differ
from pipelines import storage
from pipelines.runs import checkpoint, layout
from pipelines.runs.changes import read_changes
from pipelines.runs.evaluations import EvaluationError, read_evaluations
from pipelines.runs.listing import UNKNOWN, aligned
from pipelines.runs.results import Reading, readings

Z = 2.0
"""Standard errors of a difference that count as noise."""


def compare(first: str, second: str) -> str:
    """A table of the metrics measured for both sides; a run is represented by its newest measured checkpoint.

    A metric that does not compare is listed with the reason. Raises ValueError if no metric compares.
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
    heads += [
        f"{mark} was changed {change}"
        for mark, side in zip("ab", sides, strict=True)
        for change in read_changes(layout.run_of(side.url))
        if change.nimg < side.nimg
    ]
    return "\n".join([*heads, "", aligned(rows)])


@dataclass(frozen=True)
class _Side:
    """One checkpoint and all that was measured of it."""

    url: str
    nimg: int
    by_key: dict[str, Reading]


def _side(place: str) -> _Side:
    """The measurements of a checkpoint, or of a run's newest measured one; the run's own evaluation takes precedence."""
    is_run = storage.exists(f"{place}/{layout.EXPERIMENT}")
    if not is_run and not storage.exists(f"{place}/{layout.MANIFEST}"):
        other = checkpoint.folder_of_runs(place) or "neither a run nor a checkpoint; name one of the two"
        raise ValueError(f"{place} is {other}")
    evaluations = [each for each in read_evaluations(place if is_run else layout.run_of(place)) if each.measured]
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
