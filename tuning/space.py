"""Search spaces written as text: `loguniform(0.1, 10)`, `uniform(0, 1)`, `choice(1, 2, 5)`, by the path of a field."""

import re
from collections.abc import Iterable
from typing import Any

from ray import tune

from pipelines.experiment import Experiment
from pipelines.override import override

_FORM = re.compile(r"(loguniform|uniform|choice)\((.*)\)")


def parse(experiment: Experiment, spaces: Iterable[str]) -> dict[str, Any]:
    """Tune's search space from `path=distribution` texts; every bound or choice is tried on `experiment` first.

    Raises ValueError for an unknown field, a value of the wrong type, or an unknown distribution.
    """
    return dict(_parse_one(experiment, text) for text in spaces)


def _parse_one(experiment: Experiment, text: str) -> tuple[str, Any]:
    path, _, written = text.partition("=")
    match = _FORM.fullmatch(written.strip())
    if match is None:
        raise ValueError(
            f"search space {text!r} is not understood; write PATH=loguniform(low, high), PATH=uniform(low, high) or "
            "PATH=choice(a, b, ...)"
        )
    form, values = match[1], [value.strip() for value in match[2].split(",")]
    for value in values:
        override(experiment, [f"{path}={value}"])
    if form == "choice":
        return path, tune.choice(values)
    low, high = _bounds(text, values)
    if form == "loguniform" and low <= 0:
        raise ValueError(f"search space {text!r}: loguniform needs bounds above 0")
    return path, tune.loguniform(low, high) if form == "loguniform" else tune.uniform(low, high)


def _bounds(text: str, values: list[str]) -> tuple[float, float]:
    if len(values) != 2 or not float(values[0]) < float(values[1]):
        raise ValueError(f"search space {text!r} needs two bounds, the lower one first")
    return float(values[0]), float(values[1])
