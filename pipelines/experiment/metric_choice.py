"""Which metrics an experiment measures, and which of them judges its checkpoints."""

from dataclasses import replace

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.experiment import EvaluationConfig, Experiment


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
    return f"eval/{protocol.name}"


HIGHER_IS_BETTER: dict[str, bool | None] = {
    **{"pr": True, "is": True, "cis": True, "probe1nn": True, "probesvm": True},
    **{"msssim": None, "diversity": None},
}
"""Of the metrics whose lower values are not the better ones; None where neither side is."""


def metric_names(config: EvaluationConfig, domains: int = 1) -> tuple[str, ...]:
    """The names of the metrics that are asked for; without any, the default ones of so many domains."""
    return config.metrics or default_names(config, domains)


def default_names(config: EvaluationConfig, domains: int = 1) -> tuple[str, ...]:
    """The default distance; of two domains the kernel distances of translations both ways, over the held-out images."""
    if domains == 1:
        return (metric_name(config).removeprefix("eval/"),)
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


def best_metric(experiment: Experiment) -> str | None:
    """The key whose best value makes a checkpoint the best one: tracking.best_metric, else the first that has a better side.

    Raises ValueError if the experiment does not measure what it names.
    """
    if not experiment.evaluation.enabled:
        return None
    protocols = [parse(name) for name in metric_names(experiment.evaluation, experiment.domains)]
    judging = [each for each in protocols if HIGHER_IS_BETTER.get(each.metric, False) is not None]
    known = [key for each in judging for key in each.keys if key not in each.baselines]
    named = experiment.tracking.best_metric
    if named is not None and named not in known:
        raise ValueError(
            f"tracking.best_metric={named} is nothing that evaluation.metrics measures and that has a better side; use "
            f"{' or '.join(known) or 'null'}"
        )
    return named or next(iter(known), None)
