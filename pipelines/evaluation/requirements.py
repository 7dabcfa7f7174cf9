"""What metrics need that may not be there: weights, labels, packages, splits, an encoder. Checked before resources are taken."""

import importlib.util
from collections.abc import Callable, Iterable

import torch

from alae_core.metrics.protocol import Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.shards import Dataset
from pipelines.evaluation import weights
from pipelines.evaluation.extractors import ensure_extractor, metric_name
from pipelines.evaluation.pretrained import EXTRA
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
    "ls": "it needs classifiers of attributes, and none is trained here",
}
PERCEPTUAL = ("ppl", "lpips")
TAKEN_BY = {"ppl": ("vgg16",), "lpips": ("vgg16",), "is": ("inception", "classifier")}
"""The extractors of the metrics that not every one of `EXTRACTORS` serves."""
PACKAGES = {"lite0": "efficientnet_lite_pytorch", "inception": "torch_fidelity"}


def metric_names(config: EvaluationConfig) -> tuple[str, ...]:
    """The names of the metrics that are asked for; without any, the default distance."""
    return config.metrics or (metric_name(config).removeprefix("eval/"),)


def check_experiment(experiment: Experiment, dataset: Dataset) -> None:
    """As `check`, for the experiment's own metrics."""
    if not experiment.evaluation.enabled or not experiment.evaluation.metrics:
        return
    with torch.device("meta"):
        encodes = hasattr(experiment.algorithm.build(), "embed")
    check(experiment.evaluation.metrics, experiment.evaluation, dataset, encodes=encodes)


def check(names: Iterable[str], config: EvaluationConfig, dataset: Dataset, *, encodes: bool) -> None:
    """Raise ValueError with the way out unless all these metrics can be taken of a model on this dataset."""
    for name in names:
        protocol = parse(name)
        for rule in (_measured, _encoder, _split, _extractor, _weights):
            rule(name, protocol, config, dataset, encodes)


def prepare(names: Iterable[str], dataset: Dataset) -> None:
    """Train and store the dataset's classifier if one of the metrics needs it, so that no two processes do at once."""
    if any(parse(name).extractor == "classifier" for name in names):
        ensure_extractor(dataset, "classifier")


Rule = Callable[[str, Protocol, EvaluationConfig, Dataset, bool], None]


def _measured(name: str, protocol: Protocol, config: EvaluationConfig, dataset: Dataset, encodes: bool) -> None:
    if reason := NOT_MEASURED.get(protocol.metric):
        raise ValueError(f"{name} cannot be measured yet: {reason}; leave it out")
    if protocol.resize == "clean":
        raise ValueError(f"{name} cannot be measured yet: the clean filter is not built; leave _clean out")
    if protocol.metric == "ppl" and protocol.truncation != 1:
        raise ValueError(f"{name} cannot be measured: paths are not truncated; leave psi out")


def _encoder(name: str, protocol: Protocol, config: EvaluationConfig, dataset: Dataset, encodes: bool) -> None:
    if not encodes and (protocol.of == "reconstructions" or protocol.metric == "reciprocity"):
        raise ValueError(f"{name} needs an encoder, and the algorithm has none; leave it out")


def _split(name: str, protocol: Protocol, config: EvaluationConfig, dataset: Dataset, encodes: bool) -> None:
    known = tuple(dataset.manifest.splits)
    if protocol.split not in known:
        raise ValueError(
            f"{name} needs the split {protocol.split!r}, and {dataset.url} has {' and '.join(known)}; pack it with "
            "images held out, or leave the metric out"
        )


def _extractor(name: str, protocol: Protocol, config: EvaluationConfig, dataset: Dataset, encodes: bool) -> None:
    known = TAKEN_BY.get(protocol.metric, EXTRACTORS)
    if protocol.extractor and protocol.extractor not in known:
        raise ValueError(f"{name} cannot be taken by {protocol.extractor}; use {' or '.join(known)}")
    if protocol.extractor == "classifier" and not dataset.label_count:
        raise ValueError(
            f"{name} needs labels, and {dataset.url} has none; use pixels or lite0 in place of classifier, or pack the "
            "images with labels (a folder per class)"
        )
    package = PACKAGES.get(protocol.extractor)
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(f"{name} needs the package {package}, which is not installed; run {EXTRA}")


def _weights(name: str, protocol: Protocol, config: EvaluationConfig, dataset: Dataset, encodes: bool) -> None:
    needed = {"inception": [(weights.INCEPTION, config.inception_weights)]}
    needed["vgg16"] = [(weights.VGG16, config.vgg16_weights)]
    if protocol.metric in PERCEPTUAL:
        needed["vgg16"].append((weights.LPIPS_HEADS, config.lpips_heads))
    for file, url in needed.get(protocol.extractor, []):
        if url is None:
            raise ValueError(
                f"{name} needs weights that are not given; give {file.field}=<path or URL of {' or '.join(file.known)}>, "
                f"or {INSTEAD[protocol.extractor]}"
            )
        weights.check_exists(file, url)
