"""Checks the requirements of metrics (weights, labels, packages, splits, an encoder) before resources are reserved."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import torch

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.format.shards import Dataset
from pipelines.evaluation.features import attributes, counterparts, weights
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.features.pretrained import EXTRA
from pipelines.evaluation.material import domain_of
from pipelines.evaluation.subject import offered
from pipelines.experiment import EvaluationConfig, Experiment
from pipelines.experiment.metric_choice import best_metric, default_names, metric_names

INSTEAD = {
    "inception": "use fd_lite0_5k or fd_classifier5k, which need none",
    "vgg16": "leave it out",
    "alexnet": "use lite0's features instead (diversity_lite0_..., pd_lite0_...), which need none",
}
"""Extractor -> remedy if its weights are missing."""
NOT_OF_GIVEN = ("truncation", "mixing")
"""Fields of a protocol that have no effect on metrics of reconstructions and translations."""
DEFAULTS = {field.name: field.default for field in fields(Protocol)}
PACKAGES = {"lite0": "efficientnet_lite_pytorch", "inception": "torch_fidelity"}


def check_experiment(experiment: Experiment, datasets: Sequence[Dataset]) -> None:
    """Check the metrics of an experiment; raises as `check`, and if a metric is undefined at every level."""
    best_metric(experiment)
    if not experiment.evaluation.enabled:
        return
    with torch.device("meta"):
        algorithm = experiment.algorithm.build()
    names = metric_names(experiment.evaluation, len(datasets))
    check(names, experiment.evaluation, datasets, by_default=not experiment.evaluation.metrics, **offered(algorithm))
    for name in names:
        if reason := left_out(parse(name), max(experiment.schedule.resolutions)):
            raise ValueError(f"{name} is undefined at every level of the schedule: {reason}; leave it out")


def check(
    names: Iterable[str],
    config: EvaluationConfig,
    datasets: Sequence[Dataset],
    *,
    encodes: bool,
    codes: bool = True,
    encodes_long: bool = False,
    draws_styles: bool = False,
    by_default: bool = False,
) -> None:
    """Raise ValueError with a remedy unless all metrics can be computed for a model and its datasets, one per domain.

    `by_default`: the names are defaults, so the remedy is another setting of the default metrics.
    """
    rules = (
        _domains,
        _measured,
        _codes,
        _encoder,
        _styles,
        _split,
        _extractor,
        _labels,
        _attributes,
        _weights,
        _subsets,
        _paired,
    )
    for name in names:
        asked = _Asked(
            name, parse(name), config, tuple(datasets), codes, encodes, encodes_long, draws_styles, by_default
        )
        for rule in rules:
            rule(asked)


def left_out(protocol: Protocol, resolution: int) -> str:
    """Return the reason why a metric is undefined for images of `resolution` px, such as those of a coarse level; "" if none."""
    return protocol.row.unfit(resolution, protocol.crop)


def prepare(names: Iterable[str], datasets: Sequence[Dataset]) -> None:
    """Train and store the classifiers that the metrics need, so that several processes do not do it at once."""
    for protocol in map(parse, names):
        dataset = datasets[domain_of(protocol)]
        if protocol.extractor == "classifier":
            ensure_extractor(dataset, "classifier")
        if protocol.row.attributes:
            attributes.ensure_attributes(dataset)


@dataclass(frozen=True)
class _Asked:
    """A metric, and the data and capabilities that are available for it."""

    name: str
    protocol: Protocol
    config: EvaluationConfig
    datasets: tuple[Dataset, ...]
    codes: bool
    encodes: bool
    encodes_long: bool
    draws_styles: bool
    by_default: bool

    @property
    def dataset(self) -> Dataset:
        """Dataset that the metric compares with."""
        return self.datasets[domain_of(self.protocol)]


def _domains(asked: _Asked) -> None:
    if asked.protocol.to and len(asked.datasets) == 1:
        raise ValueError(f"{asked.name} measures translations, and the algorithm has one domain; leave it out")
    if len(asked.datasets) > 1 and not asked.protocol.to:
        raise ValueError(
            f"{asked.name} is for algorithms of one domain; name the target domain of the translations, as in "
            f"{' and '.join(default_names(asked.config, 2))}"
        )


def _measured(asked: _Asked) -> None:
    name, protocol = asked.name, asked.protocol
    if protocol.resize == "clean" and protocol.extractor != "inception":
        raise ValueError(
            f"{name} cannot be measured: the clean filter applies to inception's features only; leave _clean out"
        )
    given, row = protocol.of != "samples", protocol.row
    in_general = (*(() if row.extractors else ("extractor",)), *(NOT_OF_GIVEN if given else ()))
    unused = {**dict.fromkeys(in_general, ""), **row.unused}
    set_in_vain = [field for field in unused if getattr(protocol, field) != DEFAULTS[field]]
    if why := next((unused[field] for field in set_in_vain if unused[field]), ""):
        raise ValueError(f"{name} cannot be measured: {why}")
    if set_in_vain:
        what = f"{protocol.metric} of {protocol.of}" if given else protocol.metric
        raise ValueError(f"{name} cannot be measured: {what} has no {' and no '.join(set_in_vain)}; leave it out")


def _codes(asked: _Asked) -> None:
    if asked.protocol.row.codes and not asked.codes:
        raise ValueError(f"{asked.name} needs the codes of generated images, and the algorithm has none; leave it out")


def _encoder(asked: _Asked) -> None:
    protocol = asked.protocol
    if (protocol.of == "reconstructions" or protocol.row.encodes) and not asked.encodes:
        raise ValueError(f"{asked.name} needs an encoder, and the algorithm has none; leave it out")
    if protocol.long and not asked.encodes_long:
        raise ValueError(f"{asked.name} needs long codes, and the algorithm's encoder has none; leave _long out")


def _styles(asked: _Asked) -> None:
    if asked.protocol.each and not asked.draws_styles:
        raise ValueError(
            f"{asked.name} needs several translations of one image, and the algorithm makes only one; leave it out"
        )


def _split(asked: _Asked) -> None:
    for dataset in asked.datasets:
        known = tuple(dataset.manifest.splits)
        if asked.protocol.split not in known:
            instead = (
                f"take {replace(asked.protocol, split='train').name}" if asked.protocol.to else "leave the metric out"
            )
            raise ValueError(
                f"{asked.name} needs the split {asked.protocol.split!r}, and {dataset.url} has {' and '.join(known)}; "
                f"pack it with images held out, or {instead}"
            )


def _extractor(asked: _Asked) -> None:
    name, protocol = asked.name, asked.protocol
    known = protocol.row.extractors
    if protocol.extractor and protocol.extractor not in known:
        raise ValueError(f"{name} cannot be taken by {protocol.extractor}; use {' or '.join(known)}")
    package = PACKAGES.get(protocol.extractor)
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(f"{name} needs the package {package}, which is not installed; run {EXTRA}")


def classes_needed(protocol: Protocol) -> int:
    """Smallest number of classes that a metric needs in the labels of the dataset; 0 if it needs no labels."""
    by_classifier = protocol.extractor == "classifier"
    if protocol.row.probe or (protocol.row.classes and by_classifier):
        return 2
    return 1 if by_classifier else 0


def _labels(asked: _Asked) -> None:
    name, protocol, url = asked.name, asked.protocol, asked.dataset.url
    needed, there = classes_needed(protocol), asked.dataset.label_count
    if there >= needed:
        return
    if there or protocol.extractor != "classifier":
        raise ValueError(
            f"{name} needs labels of {needed} classes or more, and {url} has {there}; pack the images with labels (a folder "
            "per class), or leave it out"
        )
    without = " or ".join(each for each in ("pixels", "lite0") if each in protocol.row.extractors)
    instead = f"use {without} in place of classifier, or " if without else ""
    if asked.by_default:
        name, instead = "evaluation.extractor=classifier", "use evaluation.extractor=pixels, or "
    raise ValueError(
        f"{name} needs labels, and {url} has none; {instead}pack the images with labels (a folder per class)"
    )


def _attributes(asked: _Asked) -> None:
    if asked.protocol.row.attributes:
        try:
            attributes.check(asked.dataset)
        except ValueError as error:
            raise ValueError(f"{asked.name} needs attributes: {error}, or leave it out") from error


def _weights(asked: _Asked) -> None:
    protocol, config = asked.protocol, asked.config
    needed = {
        "inception": [(weights.INCEPTION, config.inception_weights)],
        "vgg16": [(weights.VGG16, config.vgg16_weights)],
        "alexnet": [(weights.ALEXNET, config.alexnet_weights), (weights.ALEXNET_HEADS, config.alexnet_heads)],
    }
    if protocol.row.perceptual:
        needed["vgg16"].append((weights.LPIPS_HEADS, config.lpips_heads))
    for file, url in needed.get(protocol.extractor, []):
        if url is None:
            raise ValueError(
                f"{asked.name} needs weights that are not given; give {file.field}=<path or URL of "
                f"{' or '.join(file.known)}>, or {INSTEAD[protocol.extractor]}"
            )
        weights.check_exists(file, url)


def _subsets(asked: _Asked) -> None:
    protocol = asked.protocol
    if not protocol.to or not protocol.subsets:
        return
    sides = [dataset.split(protocol.split) for dataset in asked.datasets]
    if len(protocol.baselines) > 1:
        sides.append(asked.dataset.split("train"))
    fewest = min(protocol.images, *(side.rows for side in sides))
    if protocol.subset_size is not None and protocol.subset_size >= fewest:
        every = replace(protocol, subsets=0, subset_size=0).name
        raise ValueError(
            f"{asked.name} draws subsets of {protocol.subset_size:,} from {fewest:,} images; use smaller ones, or {every}, "
            "one estimate from all pairs"
        )


def _paired(asked: _Asked) -> None:
    protocol = asked.protocol
    if not protocol.paired:
        return
    own, other = asked.dataset, asked.datasets[1 - domain_of(protocol)]
    if not len(counterparts.matches(other.split(protocol.split), own.split(protocol.split))):
        raise ValueError(
            f"{asked.name} needs images of one id in both domains, and the {protocol.split} splits of {other.url} and "
            f"{own.url} share none; leave it out, or pack both from files of the same names"
        )
