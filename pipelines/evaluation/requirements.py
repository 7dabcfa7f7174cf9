"""What metrics need that may not be there: weights, labels, packages, splits, an encoder. Checked before resources are taken."""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import torch

from alae_core.metrics import ms_ssim, path_length
from alae_core.metrics.protocol import PROBES, Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.domains import FOLDERS
from pipelines.data.format.shards import Dataset
from pipelines.evaluation.features import attributes, counterparts, weights
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.features.pretrained import EXTRA
from pipelines.evaluation.subject import draws_styles, encodes_long
from pipelines.experiment import EvaluationConfig, Experiment
from pipelines.experiment.metric_choice import best_metric, default_names, metric_names

EXTRACTORS = ("inception", "vgg16", "lite0", "classifier", "pixels")
INSTEAD = {
    "inception": "use fd_lite0_5k or fd_classifier5k, which need none",
    "vgg16": "leave it out",
    "alexnet": "take lite0's features in their place (diversity_lite0_..., pd_lite0_...), which need none",
}
"""What to do without a network's weights."""
PERCEPTUAL = ("ppl", "lpips", "pd", "diversity")
TAKEN_BY = {
    "ppl": ("vgg16",),
    "lpips": ("vgg16", "alexnet"),
    "pd": ("lite0",),
    "diversity": ("lite0", "vgg16", "alexnet"),
    **dict.fromkeys(("is", "cis"), ("inception", "classifier")),
}
"""The extractors of the metrics that not every one of `EXTRACTORS` serves."""
NOT_OF = {
    "ls": ("extractor", "split", "truncation", "mixing"),
    "ppl": ("mixing",),
    "reciprocity": ("truncation", "mixing"),
    **dict.fromkeys(PROBES, ("extractor", "truncation", "mixing", "rounding")),
}
"""Fields of a protocol that would change nothing of these metrics."""
NOT_OF_GIVEN = ("truncation", "mixing")
"""Nor of reconstructions and translations."""
DEFAULTS = {field.name: field.default for field in fields(Protocol)}
PACKAGES = {"lite0": "efficientnet_lite_pytorch", "inception": "torch_fidelity"}


def domain_of(protocol: Protocol) -> int:
    """The place of the dataset whose images a metric compares with: that of the domain translated to, else the one."""
    return FOLDERS.index(protocol.to) if protocol.to else 0


def check_experiment(experiment: Experiment, datasets: Sequence[Dataset]) -> None:
    """As `check`, for the experiment's own metrics."""
    best_metric(experiment)
    if not experiment.evaluation.enabled or (len(datasets) == 1 and not experiment.evaluation.metrics):
        return
    with torch.device("meta"):
        algorithm = experiment.algorithm.build()
    can = {
        "encodes": hasattr(algorithm, "embed"),
        "encodes_long": encodes_long(algorithm),
        "draws_styles": draws_styles(algorithm),
    }
    names = metric_names(experiment.evaluation, len(datasets))
    check(names, experiment.evaluation, datasets, **can)
    for name in names:
        if reason := left_out(parse(name), max(experiment.schedule.resolutions)):
            raise ValueError(f"{name} can be taken at no level of the schedule: {reason}; leave it out")


def check(
    names: Iterable[str],
    config: EvaluationConfig,
    datasets: Sequence[Dataset],
    *,
    encodes: bool,
    encodes_long: bool = False,
    draws_styles: bool = False,
) -> None:
    """Raise ValueError with the way out unless all these metrics can be taken of a model on its datasets, one per domain."""
    rules = (
        _domains,
        _measured,
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
        asked = _Asked(name, parse(name), config, tuple(datasets), encodes, encodes_long, draws_styles)
        for rule in rules:
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


def prepare(names: Iterable[str], datasets: Sequence[Dataset]) -> None:
    """Train and store the datasets' classifiers that the metrics need, so that no two processes do at once."""
    for protocol in map(parse, names):
        dataset = datasets[domain_of(protocol)]
        if protocol.extractor == "classifier":
            ensure_extractor(dataset, "classifier")
        if protocol.metric == "ls":
            attributes.ensure_attributes(dataset)


@dataclass(frozen=True)
class _Asked:
    """A metric, and what there is to take it with."""

    name: str
    protocol: Protocol
    config: EvaluationConfig
    datasets: tuple[Dataset, ...]
    encodes: bool
    encodes_long: bool
    draws_styles: bool

    @property
    def dataset(self) -> Dataset:
        """That the metric compares with."""
        return self.datasets[domain_of(self.protocol)]


def _domains(asked: _Asked) -> None:
    if asked.protocol.to and len(asked.datasets) == 1:
        raise ValueError(f"{asked.name} is taken of translations, and the algorithm has one domain; leave it out")
    if len(asked.datasets) > 1 and not asked.protocol.to:
        raise ValueError(
            f"{asked.name} is for algorithms of one domain; name the domain translated to, as in "
            f"{' and '.join(default_names(asked.config, 2))}"
        )


def _measured(asked: _Asked) -> None:
    name, protocol = asked.name, asked.protocol
    if protocol.resize == "clean" and protocol.extractor != "inception":
        raise ValueError(f"{name} cannot be measured: the clean filter is for inception's features; leave _clean out")
    if protocol.metric == "ppl" and protocol.truncation != 1:
        raise ValueError(f"{name} cannot be measured: paths are not truncated; leave psi out")
    given = protocol.of != "samples"
    unused = dict.fromkeys((*NOT_OF.get(protocol.metric, ()), *(NOT_OF_GIVEN if given else ())))
    set_in_vain = [field for field in unused if getattr(protocol, field) != DEFAULTS[field]]
    if set_in_vain:
        what = f"{protocol.metric} of {protocol.of}" if given else protocol.metric
        raise ValueError(f"{name} cannot be measured: {what} has no {' and no '.join(set_in_vain)}; leave it out")


def _encoder(asked: _Asked) -> None:
    protocol = asked.protocol
    needed = protocol.of == "reconstructions" or protocol.metric in ("reciprocity", *PROBES)
    if needed and not asked.encodes:
        raise ValueError(f"{asked.name} needs an encoder, and the algorithm has none; leave it out")
    if protocol.long and not asked.encodes_long:
        raise ValueError(f"{asked.name} needs long codes, and the algorithm's encoder has none; leave _long out")


def _styles(asked: _Asked) -> None:
    if asked.protocol.each and not asked.draws_styles:
        raise ValueError(
            f"{asked.name} needs several translations of one image, and the algorithm makes one alone; leave it out"
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
    known = TAKEN_BY.get(protocol.metric, EXTRACTORS)
    if protocol.extractor and protocol.extractor not in known:
        raise ValueError(f"{name} cannot be taken by {protocol.extractor}; use {' or '.join(known)}")
    if protocol.extractor == "classifier" and not asked.dataset.label_count:
        instead = "" if protocol.metric in TAKEN_BY else "use pixels or lite0 in place of classifier, or "
        raise ValueError(
            f"{name} needs labels, and {asked.dataset.url} has none; {instead}pack the images with labels (a folder per "
            "class)"
        )
    package = PACKAGES.get(protocol.extractor)
    if package and importlib.util.find_spec(package) is None:
        raise ValueError(f"{name} needs the package {package}, which is not installed; run {EXTRA}")


def _labels(asked: _Asked) -> None:
    protocol = asked.protocol
    scored = protocol.metric in ("is", "cis") and protocol.extractor == "classifier"
    if (protocol.metric in PROBES or scored) and asked.dataset.label_count < 2:
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
    needed = {
        "inception": [(weights.INCEPTION, config.inception_weights)],
        "vgg16": [(weights.VGG16, config.vgg16_weights)],
        "alexnet": [(weights.ALEXNET, config.alexnet_weights), (weights.ALEXNET_HEADS, config.alexnet_heads)],
    }
    if protocol.metric in PERCEPTUAL:
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
