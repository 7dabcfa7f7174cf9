"""Which metrics an experiment measures, which of them decides what is better, and in which direction."""

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
    """Such as fd_classifier5k."""
    higher: bool
    """Whether higher values are the better ones."""

    @property
    def logged(self) -> str:
        """Its name in histories, records and MLflow."""
        return f"{PREFIX}{self.key}"

    @property
    def mode(self) -> Literal["max", "min"]:
        """Which extreme is the best value."""
        return "max" if self.higher else "min"


def metric_name(config: EvaluationConfig) -> str:
    """The default Fréchet distance's name: features and number of samples belong to it, as in eval/fd_classifier5k.

    So does what is unusual in how the samples are made: eval/fd_classifier50k_mixed0.9_floored.
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
    """The names of the metrics that are asked for; without any, the default ones of so many domains."""
    return config.metrics or default_names(config, domains)


def default_names(config: EvaluationConfig, domains: int = 1) -> tuple[str, ...]:
    """The default distance; of two domains the kernel distances of translations both ways, over the held-out images."""
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
    """The key of a metric that is spelled with or without `eval/`, or by another code's name."""
    bare = name.removeprefix(PREFIX)
    return ALIASES.get(bare, bare)


def deciding(
    experiment: Experiment, asked: str | None = None, setting: str = "tracking.best_metric"
) -> Deciding | None:
    """The metric that decides: `asked`, else tracking.best_metric, else the first measured one that has a better side.

    None where nothing is evaluated or no metric has a better side. Raises ValueError, naming `setting`, if the experiment
    does not measure what is asked for, or neither side of it is better.
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
            f"{setting}={asked} is nothing that evaluation.metrics measures and that has a better side; {instead}"
        )
    return known[key_of(asked)]


def best_metric(experiment: Experiment) -> str | None:
    """The key of `deciding`, whose best value makes a checkpoint the best one."""
    found = deciding(experiment)
    return found.key if found else None


def is_better(protocol: Protocol, value: float, than: float) -> bool:
    """Whether one value of a metric is better than another; never where neither side is."""
    match protocol.row.better:
        case "higher":
            return value > than
        case "lower":
            return value < than
        case _:
            return False
