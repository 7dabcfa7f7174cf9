"""What metrics need that may not be there: weights, labels, packages, splits, an encoder. Checked before resources are taken."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch

from alae_core.metrics import ms_ssim, path_length
from alae_core.metrics.protocol import PROBES, Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.shards import Dataset
from pipelines.evaluation import attributes, weights
from pipelines.evaluation.extractors import ensure_extractor, metric_name
from pipelines.evaluation.pretrained import EXTRA
from pipelines.evaluation.subject import encodes_long
from pipelines.experiment import EvaluationConfig, Experiment

EXTRACTORS = ("inception", "vgg16", "lite0", "classifier", "pixels")
INSTEAD = {
    "inception": "use fd_lite0_5k or fd_classifier5k, which need none",
    "vgg16": "leave it out",
}
"""What to do without a network's weights."""
NOT_MEASURED = {
    "cis": "it needs several outputs for one input, and no algorithm here gives them",
    "diversity": "it needs several outputs for one input, and no algorithm here gives them",
}
PERCEPTUAL = ("ppl", "lpips")
TAKEN_BY = {"ppl": ("vgg16",), "lpips": ("vgg16",), "is": ("inception", "classifier")}
"""The extractors of the metrics that not every one of `EXTRACTORS` serves."""
HIGHER_IS_BETTER: dict[str, bool | None] = {
    **{"pr": True, "is": True, "cis": True, "diversity": True, "probe1nn": True, "probesvm": True},
    "msssim": None,
}
"""Of the metrics whose lower values are not the better ones; None where neither side is."""
NOT_OF = {
    "ls": ("extractor", "split", "truncation", "mixing"),
    "ppl": ("mixing",),
    "reciprocity": ("truncation", "mixing"),
    **dict.fromkeys(PROBES, ("extractor", "truncation", "mixing", "rounding")),
}
"""Fields of a protocol that would change nothing of these metrics."""
NOT_OF_RECONSTRUCTIONS = ("truncation", "mixing")
DEFAULTS = {field.name: field.default for field in fields(Protocol)}
PACKAGES = {"lite0": "efficientnet_lite_pytorch", "inception": "torch_fidelity"}


def metric_names(config: EvaluationConfig) -> tuple[str, ...]:
    """The names of the metrics that are asked for; without any, the default distance."""
    return config.metrics or (metric_name(config).removeprefix("eval/"),)


def best_metric(experiment: Experiment) -> str | None:
    """The key whose best value makes a checkpoint the best one: tracking.best_metric, else the first that has a better side.

    Raises ValueError if the experiment does not measure what it names.
    """
    if not experiment.evaluation.enabled:
        return None
    protocols = [parse(name) for name in metric_names(experiment.evaluation)]
    known = [key for each in protocols if HIGHER_IS_BETTER.get(each.metric, False) is not None for key in each.keys]
    named = experiment.tracking.best_metric
    if named is not None and named not in known:
        raise ValueError(
            f"tracking.best_metric={named} is nothing that evaluation.metrics measures and that has a better side; use "
            f"{' or '.join(known) or 'null'}"
        )
    return named or next(iter(known), None)


def check_experiment(experiment: Experiment, dataset: Dataset) -> None:
    """As `check`, for the experiment's own metrics."""
    best_metric(experiment)
    if not experiment.evaluation.enabled or not experiment.evaluation.metrics:
        return
    with torch.device("meta"):
        algorithm = experiment.algorithm.build()
    can = {"encodes": hasattr(algorithm, "embed"), "encodes_long": encodes_long(algorithm)}
    check(experiment.evaluation.metrics, experiment.evaluation, dataset, **can)
    for name in experiment.evaluation.metrics:
        if reason := left_out(parse(name), max(experiment.schedule.resolutions)):
            raise ValueError(f"{name} can be taken at no level of the schedule: {reason}; leave it out")


def check(
    names: Iterable[str], config: EvaluationConfig, dataset: Dataset, *, encodes: bool, encodes_long: bool = False
) -> None:
    """Raise ValueError with the way out unless all these metrics can be taken of a model on this dataset."""
    for name in names:
        asked = _Asked(name, parse(name), config, dataset, encodes, encodes_long)
        for rule in (_measured, _encoder, _split, _extractor, _labels, _attributes, _weights):
            rule(asked)


def left_out(protocol: Protocol, resolution: int) -> str:
    """Why a metric cannot be taken of images of `resolution` px, as those of a coarse level; "" where it can."""
    if protocol.metric == "msssim" and resolution < ms_ssim.COARSEST_SIDE:
        return f"it needs images of {ms_ssim.COARSEST_SIDE} px or more, and they have {resolution} px"
    if protocol.metric == "ppl":
        try:
            path_length.comparable(torch.empty(1, 1, resolution, resolution, device="meta"), protocol.crop)
        except ValueError as error:
            return str(error)
    return ""


def prepare(names: Iterable[str], dataset: Dataset) -> None:
    """Train and store the dataset's classifiers that the metrics need, so that no two processes do at once."""
    protocols = [parse(name) for name in names]
    if any(protocol.extractor == "classifier" for protocol in protocols):
        ensure_extractor(dataset, "classifier")
    if any(protocol.metric == "ls" for protocol in protocols):
        attributes.ensure_attributes(dataset)


@dataclass(frozen=True)
class _Asked:
    """A metric, and what there is to take it with."""

    name: str
    protocol: Protocol
    config: EvaluationConfig
    dataset: Dataset
    encodes: bool
    encodes_long: bool


def _measured(asked: _Asked) -> None:
    name, protocol = asked.name, asked.protocol
    if reason := NOT_MEASURED.get(protocol.metric):
        raise ValueError(f"{name} cannot be measured yet: {reason}; leave it out")
    if protocol.resize == "clean" and protocol.extractor != "inception":
        raise ValueError(f"{name} cannot be measured: the clean filter is for inception's features; leave _clean out")
    if protocol.metric == "ppl" and protocol.truncation != 1:
        raise ValueError(f"{name} cannot be measured: paths are not truncated; leave psi out")
    reconstructed = protocol.of == "reconstructions"
    unused = dict.fromkeys((*NOT_OF.get(protocol.metric, ()), *(NOT_OF_RECONSTRUCTIONS if reconstructed else ())))
    set_in_vain = [field for field in unused if getattr(protocol, field) != DEFAULTS[field]]
    if set_in_vain:
        what = f"{protocol.metric} of reconstructions" if reconstructed else protocol.metric
        raise ValueError(f"{name} cannot be measured: {what} has no {' and no '.join(set_in_vain)}; leave it out")


def _encoder(asked: _Asked) -> None:
    protocol = asked.protocol
    needed = protocol.of == "reconstructions" or protocol.metric in ("reciprocity", *PROBES)
    if needed and not asked.encodes:
        raise ValueError(f"{asked.name} needs an encoder, and the algorithm has none; leave it out")
    if protocol.long and not asked.encodes_long:
        raise ValueError(f"{asked.name} needs long codes, and the algorithm's encoder has none; leave _long out")


def _split(asked: _Asked) -> None:
    known = tuple(asked.dataset.manifest.splits)
    if asked.protocol.split not in known:
        raise ValueError(
            f"{asked.name} needs the split {asked.protocol.split!r}, and {asked.dataset.url} has {' and '.join(known)}; "
            "pack it with images held out, or leave the metric out"
        )


def _extractor(asked: _Asked) -> None:
    name, protocol = asked.name, asked.protocol
    known = TAKEN_BY.get(protocol.metric, EXTRACTORS)
    if protocol.extractor and protocol.extractor not in known:
        raise ValueError(f"{name} cannot be taken by {protocol.extractor}; use {' or '.join(known)}")
    if protocol.extractor == "classifier" and not asked.dataset.label_count:
        raise ValueError(
            f"{name} needs labels, and {asked.dataset.url} has none; use pixels or lite0 in place of classifier, or pack "
            "the images with labels (a folder per class)"
        )
    package = PACKAGES.get(protocol.extractor)
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(f"{name} needs the package {package}, which is not installed; run {EXTRA}")


def _labels(asked: _Asked) -> None:
    if asked.protocol.metric in PROBES and asked.dataset.label_count < 2:
        raise ValueError(
            f"{asked.name} needs labels of 2 classes or more, and {asked.dataset.url} has {asked.dataset.label_count}; pack "
            "the images with labels (a folder per class), or leave it out"
        )


def _attributes(asked: _Asked) -> None:
    if asked.protocol.metric == "ls":
        try:
            attributes.check(asked.dataset)
        except ValueError as error:
            raise ValueError(f"{asked.name} needs attributes: {error}, or leave it out") from error


def _weights(asked: _Asked) -> None:
    protocol, config = asked.protocol, asked.config
    needed = {"inception": [(weights.INCEPTION, config.inception_weights)]}
    needed["vgg16"] = [(weights.VGG16, config.vgg16_weights)]
    if protocol.metric in PERCEPTUAL:
        needed["vgg16"].append((weights.LPIPS_HEADS, config.lpips_heads))
    for file, url in needed.get(protocol.extractor, []):
        if url is None:
            raise ValueError(
                f"{asked.name} needs weights that are not given; give {file.field}=<path or URL of "
                f"{' or '.join(file.known)}>, or {INSTEAD[protocol.extractor]}"
            )
        weights.check_exists(file, url)
