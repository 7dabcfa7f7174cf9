"""Search spaces written as text: `loguniform(0.1, 10)`, `uniform(0, 1)`, `choice(1, 2, 5)`, by the path of a field."""

import math
import re
from collections.abc import Iterable
from typing import Any

from ray import tune

from pipelines.experiment import Experiment
from pipelines.override import override

_FORM = re.compile(r"(loguniform|uniform|choice)\((.*)\)")


def parse(experiment: Experiment, spaces: Iterable[str]) -> dict[str, Any]:
    """Tune's search space from `path=distribution` texts; every bound or choice is tried on `experiment` first.

    Raises ValueError for an unknown field, a value of the wrong type or that does not fit, an unknown distribution, or
    a field that is given twice.
    """
    sampled: dict[str, Any] = {}
    for text in spaces:
        path, distribution = _parse_one(experiment, text)
        if path in sampled:
            raise ValueError(f"{path} is searched twice; keep one of its spaces")
        sampled[path] = distribution
    return sampled


def _parse_one(experiment: Experiment, text: str) -> tuple[str, Any]:
    path, _, written = (part.strip() for part in text.partition("="))
    match = _FORM.fullmatch(written)
    if match is None:
        raise ValueError(
            f"search space {text!r} is not understood; write PATH=loguniform(low, high), PATH=uniform(low, high) or "
            "PATH=choice(a, b, ...)"
        )
    form, values = match[1], [value.strip() for value in match[2].split(",")]
    for value in values:
        _try(experiment, path, value)
    if form == "choice":
        return path, tune.choice(values)
    low, high = _bounds(text, values)
    # What is drawn between the bounds has decimals, which a whole-numbered field refuses.
    _try(experiment, path, low + (high - low) / math.pi)
    if form == "loguniform" and low <= 0:
        raise ValueError(f"search space {text!r}: loguniform needs bounds above 0")
    return path, tune.loguniform(low, high) if form == "loguniform" else tune.uniform(low, high)


def _try(experiment: Experiment, path: str, value: str | float) -> None:
    try:
        override(experiment, [f"{path}={value}"]).validate()
    except ValueError as error:
        raise ValueError(f"search space of {path}: {error}") from error


def _bounds(text: str, values: list[str]) -> tuple[float, float]:
    try:
        low, high = map(float, values)
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise ValueError(f"search space {text!r} needs two numbers, the lower one first")
    return low, high
