"""The values of a run's metrics over the images seen, from its ticks and evaluations."""

from collections.abc import Iterable, Sequence

from pipelines.pictures.curves import ERROR, Curve
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.history import Tick


def curves(
    names: Sequence[str], ticks: Iterable[Tick] = (), evaluations: Iterable[Evaluation] = ()
) -> dict[str, Curve]:
    """The values of each named metric, in order of kimg; what was not finite or never recorded is left out."""
    found: dict[str, dict[float, tuple[float, float | None]]] = {name: {} for name in names}
    records: list[Tick | Evaluation] = [*ticks, *evaluations]
    for record in sorted(records, key=lambda record: record.nimg):
        for name, curve in found.items():
            if (value := record.metrics.get(name)) is not None:
                curve[record.nimg / 1000] = (float(value), record.metrics.get(name + ERROR))
    return {name: dict(curve) for name, curve in found.items() if curve}


def measured_names(evaluations: Iterable[Evaluation]) -> list[str]:
    """The metrics of evaluations in the order they first appear, without standard errors and bookkeeping."""
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.metrics)
    about = {"eval/resolution", "eval/samples", "eval/seconds"}
    return [name for name in names if name not in about and not name.endswith(ERROR)]
