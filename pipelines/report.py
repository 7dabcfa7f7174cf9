"""What the terminal shows of a packing and of a finished run."""

import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.history import Evaluation, read_history
from pipelines.mlflow_run import redact

if TYPE_CHECKING:
    from pipelines.data.packing import PackReport
    from pipelines.tracking import SyncResult
    from pipelines.trainer import Outcome


class Bar:
    """A progress bar on stderr: `Bar("packing")(done, total)`; silent where stderr is not a terminal."""

    def __init__(self, what: str, width: int = 30) -> None:
        self._what, self._width, self._began = what, width, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        filled = self._width * done // max(total, 1)
        rate = done / max(time.monotonic() - self._began, 1e-9)
        end = "\n" if done >= total else ""
        bar = "#" * filled + "." * (self._width - filled)
        print(f"\r{self._what} [{bar}] {done:,}/{total:,}  {rate:,.0f}/s ", end=end, file=sys.stderr, flush=True)


def packed(report: "PackReport") -> str:
    """What a packing did, in a line or two."""
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items())
    if report.already_done:
        return f"{report.dest} is already packed from these images: {rows}"
    resumed = f"; resumed after {report.resumed_shards} finished shards" if report.resumed_shards else ""
    rejected = f"; {report.rejected:,} rejected, listed in {report.dest}/rejected.jsonl" if report.rejected else ""
    return f"packed {rows} images into {report.dest}{resumed}{rejected}"


def tracked(result: "SyncResult") -> str:
    """What MLflow was still missing."""
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
        lines += ["", *_comparison(evaluations[0], evaluations[-1]), ""]
        figures = {key: f"{run.url}/{path}" for key, path in evaluations[-1].figures.items()}
        lines += [f"{key:<24} {path}" for key, path in figures.items()]
    lines += _rates(outcome)
    if experiment.tracking.uri:
        if not outcome.tracked:
            lines.append(f"MLflow lacks a part of this run; bring it up to date with: alae track {run.url}")
        lines.append(_review(experiment.tracking.uri))
    return "\n".join(lines)


def _comparison(first: Evaluation, last: Evaluation) -> Iterable[str]:
    yield f"{'':<32}{'first checkpoint':>18}{'last checkpoint':>18}"
    yield f"{'kimg':<32}{first.nimg / 1000:>18g}{last.nimg / 1000:>18g}"
    for name in last.metrics:
        before, after = first.metrics.get(name), last.metrics[name]
        yield f"{name.removeprefix('eval/'):<32}{_number(before):>18}{_number(after):>18}"


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


def _review(uri: str) -> str:
    """How to look at the run: a server's own page, or the command that serves a local file."""
    if uri.startswith("http"):
        return f"review it at: {redact(uri)}"
    command = Path(sys.executable).parent / "mlflow"
    shown = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return f"review it with: {shown} ui --backend-store-uri {uri}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
