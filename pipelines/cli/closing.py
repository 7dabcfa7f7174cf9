"""The results of a finished run in one screen: first, last and best evaluation, the change beyond the noise, and pages."""

from collections.abc import Sequence

from alae_core.metrics.estimate import Estimate, differ
from pipelines.experiment import Experiment, metric_choice
from pipelines.runs import layout
from pipelines.runs.best import place_of
from pipelines.runs.compare import Z
from pipelines.runs.evaluations import RESOLUTION, Evaluation
from pipelines.runs.listing import aligned
from pipelines.runs.monitor import METRICS, list_charts
from pipelines.runs.results import Reading, best, readable, series

MOST_ROWS = 8
PAGES = ("samples", "translations", "reconstructions")
"""The first words of the pages to open first, by what they show."""
MOST_PAGES = 2
_ABOUT = (RESOLUTION, "eval/samples", "eval/seconds")
"""Values that describe the evaluation rather than the checkpoint."""


def results(run_url: str, experiment: Experiment, evaluations: Sequence[Evaluation]) -> list[str]:
    """The table of metrics, the place of the best checkpoint, and the pages to open; nothing without an evaluation."""
    if not evaluations:
        return []
    last = evaluations[-1]
    alike = [each for each in evaluations if each.metrics.get(RESOLUTION) == last.metrics.get(RESOLUTION)]
    deciding = metric_choice.best_metric(experiment)
    leader = best(series(alike, deciding)) if deciding else None
    top = next((each for each in alike if leader and each.nimg == leader.nimg), None)
    return ["", *_table(alike[0], last, top, deciding), "", *_best(run_url, leader, last), *_pages(run_url, last)]


def _table(first: Evaluation, last: Evaluation, top: Evaluation | None, deciding: str | None) -> list[str]:
    """A row for each metric: which values are better, the three evaluations, and the change from the first to the last."""
    shown = {"first": first, "last": last, "best": top}
    if first is last:
        del shown["first"]
    if top is None or top is last:
        del shown["best"]
    columns = [each for each in shown.values() if each is not None]
    heads = [f"{name}, {each.nimg / 1000:g} kimg" for name, each in shown.items() if each]
    names, hidden = _names(last, deciding)
    rows = [("", "better", *heads, *(["since the first"] if first is not last else []))]
    for name in names[:MOST_ROWS]:
        change = [_change(readable(first).get(name), readable(last).get(name))] if first is not last else []
        rows.append((name, _better(readable(last).get(name)), *(_value(each, name) for each in columns), *change))
    hidden += max(0, len(names) - MOST_ROWS)
    more = [f"{hidden} more values are in the run's folder evaluations/ and in MLflow"] if hidden else []
    return [*aligned(rows).splitlines(), *more]


def _names(last: Evaluation, deciding: str | None) -> tuple[list[str], int]:
    """The deciding value of the last evaluation, other metrics, and values without a protocol; the number of baselines."""
    found = readable(last)
    every = [
        name.removeprefix("eval/")
        for name in last.metrics
        if name not in _ABOUT and not (name.endswith("_se") and name.removesuffix("_se") in last.metrics)
    ]
    own = [name for name in every if name not in found or name not in found[name].protocol.baselines]
    return sorted(own, key=lambda name: (name != deciding, name not in found)), len(every) - len(own)


def _better(reading: Reading | None) -> str:
    if reading is None or reading.protocol.row.better == "neither":
        return ""
    return reading.protocol.row.better


def _value(evaluation: Evaluation, name: str) -> str:
    value, error = evaluation.metrics.get(f"eval/{name}"), evaluation.metrics.get(f"eval/{name}_se")
    return "-" if value is None else str(Estimate(value, error, 0))


def _change(first: Reading | None, last: Reading | None) -> str:
    """The judgement of `alae compare` in a few words; "" where a value has no side or is not comparable."""
    if first is None or last is None or first.unlike(last):
        return ""
    if first.estimate.standard_error is None or last.estimate.standard_error is None:
        return "no error bar"
    if not differ(first.estimate, last.estimate, z=Z):
        return "within the noise"
    return "better" if last.better_than(first) else "worse" if first.better_than(last) else "changed"


def _best(run_url: str, leader: Reading | None, last: Evaluation) -> list[str]:
    if leader is None:
        return []
    place = place_of(run_url, leader.checkpoint)
    where = place or f"at {leader.nimg / 1000:g} kimg, not kept"
    return [f"best checkpoint by {leader.key}{' (the last one)' if leader.nimg == last.nimg else ''}: {where}"]


def _pages(run_url: str, last: Evaluation) -> list[str]:
    """The paths of the pages to open first, and of the chart of the metrics."""
    known = [key for word in PAGES for key in last.figures if key.partition("_")[0] == word]
    whole = [key for key in known if key in PAGES or "_to_" in key or key.startswith("reconstructions")]
    chosen = [last.figures[key] for key in (whole or known or list(last.figures))[:MOST_PAGES]]
    charts = {nimg: path for (key, nimg), path in list_charts(run_url).items() if key == f"{layout.CHARTS}/{METRICS}"}
    if charts:
        chosen.append(charts[max(charts)])
    return [f"look at {run_url}/{path}" for path in chosen]
