"""Search spaces as text: the path of a field and `loguniform(0.1, 10)`, `uniform(0, 1)` or `choice(1, 2, 5)`."""

import math
import re
from collections.abc import Iterable
from typing import Any

from ray import tune

from pipelines.experiment import Experiment, LimitsSearch, Searched
from pipelines.experiment.override import override
from pipelines.runs import checkpoint

_FORM = re.compile(r"(loguniform|uniform|choice)\((.*)\)")


def default(experiment: Experiment) -> tuple[str, ...]:
    """The fields that are searched unless others are asked for; raises ValueError where the Config is not `Searched`."""
    if not isinstance(experiment.algorithm, Searched):
        raise ValueError(
            f"algorithm.kind={experiment.algorithm.kind} says nothing of what to search; give it, as in --over "
            '"training.optimizer.beta2=choice(0.9, 0.99)"'
        )
    return experiment.algorithm.search_space()


def parse(experiment: Experiment, spaces: Iterable[str]) -> dict[str, Any]:
    """Tune's search space from `path=distribution` texts; every bound or choice is tried on `experiment` first.

    Raises ValueError for an unknown field, a value of the wrong type or that does not fit, an unknown distribution, a
    field that is given twice, and what the algorithm's Config refuses.
    """
    sampled: dict[str, Any] = {}
    for text in spaces:
        path, distribution = _parse_one(experiment, text)
        if path in sampled:
            raise ValueError(f"{path} is searched twice; keep one of its spaces")
        sampled[path] = distribution
    config = experiment.algorithm
    if isinstance(config, LimitsSearch) and (problem := config.search_problem(set(sampled))):
        raise ValueError(problem)
    return sampled


def _hopeless(experiment: Experiment) -> str | None:
    """Why the algorithm cannot be trained so, as its Config says; of the checkpoint that it starts from, if there is one."""
    config, start = experiment.algorithm, experiment.training.init_from
    if not isinstance(config, LimitsSearch):
        return None
    start = start and checkpoint.at(start)
    begun = None if start is None else checkpoint.read_experiment(start).algorithm
    ticks = [] if start is None else [tick.metrics for tick in checkpoint.read_ticks(start)]
    return config.trial_problem(begun, ticks)


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
    # Draws between the bounds have decimals, which an integer field refuses.
    _try(experiment, path, low + (high - low) / math.pi)
    if form == "loguniform" and low <= 0:
        raise ValueError(f"search space {text!r}: loguniform needs bounds above 0")
    return path, tune.loguniform(low, high) if form == "loguniform" else tune.uniform(low, high)


def _try(experiment: Experiment, path: str, value: str | float) -> None:
    try:
        tried = override(experiment, [f"{path}={value}"])
        tried.validate()
        problem = _hopeless(tried)
    except ValueError as error:
        raise ValueError(f"search space of {path}: {error}") from error
    if problem:
        raise ValueError(f"search space of {path}: {problem}")


def _bounds(text: str, values: list[str]) -> tuple[float, float]:
    try:
        low, high = map(float, values)
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise ValueError(f"search space {text!r} needs two numbers, the lower one first")
    return low, high
