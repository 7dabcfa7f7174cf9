"""Text for the terminal about a packing, a synchronisation with MLflow and a finished run."""

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from alae_core.metrics.estimate import Estimate
from pipelines.data.format.pyramid import DUPLICATES, REJECTED
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.history import read_history
from pipelines.runs.monitor import read_alarms
from pipelines.tracking import links

if TYPE_CHECKING:
    from pipelines.data.pack.pack import PackReport
    from pipelines.tracking.replica import SyncResult
    from pipelines.training.trainer import Outcome

RESOLUTION = "eval/resolution"


def packed(*reports: "PackReport") -> str:
    """Each packing's image counts, then a line for each thing worth knowing about them."""
    return "\n".join(map(_packed, reports))


def _packed(report: "PackReport") -> str:
    manifest, dest = report.manifest, report.dest
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
    resumed = f"; resumed after {report.resumed_shards} finished shards" if report.resumed_shards else ""
    if report.discarded_shards:
        resumed = f"; {report.discarded_shards} shards of an unfinished packing of other images or options were deleted"
    if report.already_done:
        return f"{dest} is already packed from these images: {rows}"
    lines = [f"packed {rows} images of {manifest.resolution}x{manifest.resolution} px into {dest}{resumed}"]
    if manifest.rejected:
        lines.append(f"{manifest.rejected:,} files rejected, listed in {dest}/{REJECTED}")
    if kinds := " and ".join(f"{count:,} {kind}" for kind, count in manifest.duplicates.items() if count):
        lines.append(f"{kinds} duplicates of other images, kept and listed in {dest}/{DUPLICATES}")
    lines += [f"{count:,} images: {note}" for note, count in manifest.notes.items()]
    if manifest.labels and {"trainA", "trainB"} <= set(manifest.labels.names):
        lines.append("its classes are called trainA and trainB: for a translator pack them with --domains folders")
    return "\n  ".join(lines)


def tracked(result: "SyncResult") -> str:
    """The ticks, evaluations and figures that MLflow had not yet received."""
    return (
        f"MLflow run {result.run_id}: {result.ticks} ticks, {result.evaluations} evaluations and "
        f"{result.figures} figures added"
    )


def summary(outcome: "Outcome") -> str:
    """The closing table of a run."""
    run, experiment = outcome.run, outcome.experiment
    state = "was already finished" if outcome.already_finished else "finished"
    lines = [f"run {experiment.name} {state}: {experiment.schedule.total_nimg / 1000:g} kimg in {run.url}"]
    evaluations = outcome.evaluations()
    if evaluations:
        lines += ["", *_comparison(evaluations), ""]
        figures = {key: f"{run.url}/{path}" for key, path in evaluations[-1].figures.items()}
        lines += [f"{key:<24} {path}" for key, path in figures.items()]
    lines += [f"alarm {alarm.name} {alarm}" for alarm in read_alarms(run.url)]
    lines += _rates(outcome)
    if experiment.tracking.uri:
        if not outcome.tracked:
            lines.append(f"MLflow lacks a part of this run; bring it up to date with: alae track {run.url}")
        lines.append(links.sentence(run, experiment.tracking.uri))
    return "\n".join(lines)


def _comparison(evaluations: Sequence[Evaluation]) -> Iterable[str]:
    """The last evaluation beside the first of images of its resolution, if there is one: others are not like it."""
    last = evaluations[-1]
    size = last.metrics.get(RESOLUTION)
    alike = [each for each in evaluations if each.metrics.get(RESOLUTION) == size]
    columns = {"first of its size": alike[0], "last checkpoint": last} if len(alike) > 1 else {"last checkpoint": last}
    yield _line("", columns)
    yield _line("kimg", [f"{each.nimg / 1000:g}" for each in columns.values()])
    for name in last.metrics:
        # A standard error stands beside its number.
        if name.removesuffix("_se") == name or name.removesuffix("_se") not in last.metrics:
            yield _line(name.removeprefix("eval/"), [_with_error(each, name) for each in columns.values()])


def _line(name: str, cells: Iterable[str]) -> str:
    return f"{name:<32}" + "".join(f" {cell:>17}" for cell in cells)


def _with_error(evaluation: Evaluation, name: str) -> str:
    value, error = evaluation.metrics.get(name), evaluation.metrics.get(f"{name}_se")
    return _number(value) if value is None or error is None else str(Estimate(value, error, 0))


def _rates(outcome: "Outcome") -> Sequence[str]:
    ticks, _ = read_history(outcome.run.history)
    if not ticks:
        return ()
    last_level = [tick for tick in ticks if tick.metrics["progress/level"] == ticks[-1].metrics["progress/level"]]
    rates = [value for tick in last_level if (value := tick.metrics.get("time/images_per_s"))]
    waits = [value for tick in ticks[1:] if (value := tick.metrics.get("time/data_wait_frac")) is not None]
    return (
        f"{'images/s at the last level':<32}{statistics.median(rates or [0.0]):>18.0f}",
        f"{'data-wait fraction (median)':<32}{statistics.median(waits or [0.0]):>18.2%}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
