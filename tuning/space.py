"""Search spaces as text: the path of a field and `loguniform(0.1, 10)`, `uniform(0, 1)` or `choice(1, 2, 5)`."""

import math
import re
from collections.abc import Iterable
from typing import Any

from ray import tune

from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import checkpoint

FALLBACK = ("algorithm.loss.latent_reconstruction_weight=loguniform(0.1, 10)",)
MARGIN, RATIO = "algorithm.loss.margin", "algorithm.loss.margin_ratio"
WEIGHT = "algorithm.loss.reconstruction_weight"
REAL_KL = "encoder/kl_real"
LEAST_RATIO = 1.05
"""Smallest ratio of the margin to the real KL at which a plain VAE with the same weights settles."""

_FORM = re.compile(r"(loguniform|uniform|choice)\((.*)\)")


def default(experiment: Experiment) -> tuple[str, ...]:
    """Default search space, which the algorithm's Config declares by `search_space()`."""
    declared = getattr(experiment.algorithm, "search_space", None)
    return declared() if declared else FALLBACK


def parse(experiment: Experiment, spaces: Iterable[str]) -> dict[str, Any]:
    """Tune's search space from `path=distribution` texts; every bound or choice is tried on `experiment` first.

    Raises ValueError for an unknown field, a value of the wrong type or that does not fit, an unknown distribution, a
    field that is given twice, and a margin that would not follow the reconstruction weight.
    """
    sampled: dict[str, Any] = {}
    for text in spaces:
        path, distribution = _parse_one(experiment, text)
        if path in sampled:
            raise ValueError(f"{path} is searched twice; keep one of its spaces")
        sampled[path] = distribution
    if problem := _uncoupled(experiment, set(sampled)):
        raise ValueError(problem)
    return sampled


def _uncoupled(experiment: Experiment, paths: set[str]) -> str | None:
    """Why margin and reconstruction weight would not fit together: the real KL, and with it the margin, grow with the weight."""
    margin = _loss(experiment, "margin")
    if {MARGIN, WEIGHT} <= paths:
        return f"{MARGIN} and {WEIGHT} cannot be searched independently; search {RATIO} in place of the margin"
    if {MARGIN, RATIO} <= paths:
        return f"{RATIO} has no effect where {MARGIN} is given; search one of the two"
    if margin is not None and WEIGHT in paths:
        return (
            f"{MARGIN} is fixed and would not follow {WEIGHT}; set {MARGIN}=null, which takes {RATIO} times the real KL"
        )
    if margin is not None and RATIO in paths:
        return f"{RATIO} has no effect where {MARGIN} is given; set {MARGIN}=null"
    return None


def plateau(experiment: Experiment) -> float | None:
    """Real KL, in nats, of the checkpoint that the experiment starts from; None where its weights do not tell it."""
    start = experiment.training.init_from
    if start is None or _loss(checkpoint.read_experiment(start), "reconstruction_weight") != _loss(
        experiment, "reconstruction_weight"
    ):
        return None
    values = [value for tick in checkpoint.read_ticks(start) if (value := tick.metrics.get(REAL_KL)) is not None]
    return sum(values) / len(values) if values else None


def _small_margin(experiment: Experiment) -> str | None:
    """Why the encoder could not keep real images within the margin."""
    margin, ratio = _loss(experiment, "margin"), _loss(experiment, "margin_ratio")
    if margin is None:
        too_small = ratio is not None and ratio < LEAST_RATIO
        return f"{RATIO}={ratio:g} leaves no room above the real KL; use {LEAST_RATIO} or more" if too_small else None
    known = plateau(experiment)
    if known is None or min(margin) >= LEAST_RATIO * known:
        return None
    return (
        f"{MARGIN}={min(margin):g} is below {LEAST_RATIO} times the real KL of {known:.4g} that "
        f"training.init_from={experiment.training.init_from} has at this weight; use {LEAST_RATIO * known:.4g} or more"
    )


def _loss(experiment: Experiment, name: str) -> Any:
    """A field of the algorithm's loss; None where it has none of this name."""
    return getattr(getattr(experiment.algorithm, "loss", None), name, None)


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
        problem = _small_margin(tried)
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
