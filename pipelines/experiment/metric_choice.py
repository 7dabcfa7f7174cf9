"""Metrics that an experiment measures, and the one that ranks its checkpoints."""

from dataclasses import dataclass, replace
from typing import Literal

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import ALIASES, parse
from pipelines.experiment import EvaluationConfig, Experiment

PREFIX = "eval/"
"""Prefix of a metric's name in histories, records and MLflow."""


@dataclass(frozen=True)
class Deciding:
    """The metric by which checkpoints, runs and trials are compared."""

    key: str
    """Name of the metric, such as fd_classifier5k."""
    higher: bool
    """Whether higher values are better."""

    @property
    def logged(self) -> str:
        """Name in histories, records and MLflow."""
        return f"{PREFIX}{self.key}"

    @property
    def mode(self) -> Literal["max", "min"]:
        """The extreme that is the best value."""
        return "max" if self.higher else "min"


def metric_name(config: EvaluationConfig) -> str:
    """Return the name of the default Fréchet distance, which includes features and sample size: eval/fd_classifier5k.

    It also includes mixing and rounding where they are not the defaults: eval/fd_classifier50k_mixed0.9_floored.
    """
    protocol = Protocol(
        metric="fd",
        images=config.samples,
        extractor=config.extractor,
        full=True,
        mixing=config.mixing_probability,
        rounding=config.rounding,
    )
    return f"{PREFIX}{protocol.name}"


def metric_names(config: EvaluationConfig, domains: int = 1) -> tuple[str, ...]:
    """Return the configured metrics, or else the default ones for 1 or 2 domains."""
    return config.metrics or default_names(config, domains)


def default_names(config: EvaluationConfig, domains: int = 1) -> tuple[str, ...]:
    """Return the default Fréchet distance; for two domains, the kernel distances of held-out translations in both directions."""
    if domains == 1:
        return (key_of(metric_name(config)),)
    distance = Protocol(
        metric="kd",
        images=config.samples,
        extractor=config.extractor,
        subsets=0,
        subset_size=0,
        split="validation",
        of="translations",
        to="a",
        rounding=config.rounding,
    )
    return distance.name, replace(distance, to="b").name


def key_of(name: str) -> str:
    """Return the name of a metric without `eval/`; names of other codebases become ours."""
    bare = name.removeprefix(PREFIX)
    return ALIASES.get(bare, bare)


def deciding(
    experiment: Experiment, asked: str | None = None, setting: str = "tracking.best_metric"
) -> Deciding | None:
    """Return the metric that ranks checkpoints: `asked`, else tracking.best_metric, else the first one with a direction.

    A metric has a direction if lower or higher values are better. Returns None if nothing is evaluated or no metric has a
    direction. Raises ValueError, naming `setting`, if the experiment does not measure the metric or it has no direction.
    """
    if not experiment.evaluation.enabled:
        return None
    protocols = [parse(name) for name in metric_names(experiment.evaluation, experiment.domains)]
    known = {
        key: Deciding(key, higher=protocol.row.better == "higher")
        for protocol in protocols
        if protocol.row.better != "neither"
        for key in protocol.keys
        if key not in protocol.baselines
    }
    if asked is None:
        asked, setting = experiment.tracking.best_metric, "tracking.best_metric"
    if asked is None:
        return next(iter(known.values()), None)
    if key_of(asked) not in known:
        instead = f"use {' or '.join(known)}" if known else "leave it out"
        raise ValueError(
            f"{setting}={asked} is not a metric of evaluation.metrics for which lower or higher is better; {instead}"
        )
    return known[key_of(asked)]


def best_metric(experiment: Experiment) -> str | None:
    """Return the name of the metric that ranks checkpoints, or None."""
    found = deciding(experiment)
    return found.key if found else None


def is_better(protocol: Protocol, value: float, than: float) -> bool:
    """Whether `value` is better than `than`; False for metrics without a direction."""
    match protocol.row.better:
        case "higher":
            return value > than
        case "lower":
            return value < than
        case _:
            return False
