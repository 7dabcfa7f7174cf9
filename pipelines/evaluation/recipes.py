"""One recipe per metric: the stream that is drawn, and the measure that is computed from it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alae_core.algorithm import Sampling
from alae_core.metrics import ms_ssim, reconstruction
from alae_core.metrics.probes import nearest_neighbour_accuracy
from alae_core.metrics.protocol import Protocol
from pipelines.evaluation import draws, measures, probes, translation_measures
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.material import Material, domain_of

Draw = Callable[[Material, Protocol, int], draws.Stream]
"""Function of material, protocol and number of images to the stream."""
Take = Callable[[Material, Protocol, int], measures.Measure]
"""Function of material, protocol and number of images to the measure."""


def usual(material: Material, protocol: Protocol, count: int) -> draws.Stream:
    """Return the protocol's stream of samples, reconstructions or translations."""
    if protocol.of == "reconstructions":
        return draws.Reconstructions(protocol.split)
    if protocol.of == "samples":
        return draws.Samples(_sampling(protocol))
    if protocol.paired:
        pairs = tuple((int(own), int(other)) for own, other in material.counterparts(protocol).matches)
        return draws.PairedTranslations(domain_of(protocol), protocol.split, pairs)
    return draws.Translations(domain_of(protocol), protocol.split, protocol.each or 1)


@dataclass(frozen=True)
class Recipe:
    """Functions that make the measure and the stream of a metric."""

    take: Take
    draw: Draw = usual


def _frechet(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    return measures.Frechet(material.reals(protocol), protocol.rounding, count, material.baselines(protocol))


def _kernel(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    draw = protocol.subsets or 0, protocol.subset_size or 0
    return measures.Kernel(material.reals(protocol), protocol.rounding, *draw, material.baselines(protocol))


def _precision_recall(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    return measures.PrecisionRecall(material.reals(protocol), protocol.rounding, protocol.neighbours or 0)


def _inception_score(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    return measures.InceptionScore(material.extractor(protocol), protocol.rounding, count)


def _conditional_score(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    extractor = material.extractor(protocol)
    return translation_measures.ConditionalScore(extractor, protocol.rounding, each=protocol.each or 1)


def _diversity(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    distance = _OfRounded(material.perceptual(protocol), protocol.rounding)
    compared, resolution = material.compared(protocol), material.subject.level.resolution
    return translation_measures.Diversity(distance, protocol.each or 1, compared, resolution)


def _style_pairs(material: Material, protocol: Protocol, count: int) -> draws.Stream:
    return draws.StylePairs(domain_of(protocol), protocol.split, protocol.each or 1)


def _path_length(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    return measures.PathLength(material.perceptual(protocol))


def _paths(material: Material, protocol: Protocol, count: int) -> draws.Stream:
    assert protocol.space and protocol.path, "the table says that the metric needs both"
    return draws.Paths(protocol.space, protocol.path, protocol.crop)


def _separability(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    assert protocol.space, "the table says that the metric needs it"
    return measures.Separability(material.attributes(), protocol.space, protocol.rounding)


def _error(value: pretrained.Distance | None = None) -> Take:
    """Mean distance of images from their originals or counterparts; None: the distance over the extractor's features."""

    def take(material: Material, protocol: Protocol, count: int) -> measures.Measure:
        distance = _OfRounded(value or material.perceptual(protocol), protocol.rounding)
        if not protocol.paired:
            return measures.Mean(distance)
        name = f"{protocol.metric} {material.weights(protocol)} {protocol.rounding}"
        return translation_measures.Paired(distance, counterparts=material.counterparts(protocol), name=name)

    return take


def _probe(accuracy: measures.Accuracy) -> Recipe:
    return Recipe(
        lambda material, protocol, count: measures.Probe(accuracy, count),
        lambda material, protocol, count: draws.RealCodes(count, protocol.split, protocol.long),
    )


def _similarity(material: Material, protocol: Protocol, count: int) -> measures.Measure:
    return measures.Mean(_Similarity(protocol.rounding))


def _pairs(material: Material, protocol: Protocol, count: int) -> draws.Stream:
    return draws.Pairs(_sampling(protocol)) if protocol.of == "samples" else usual(material, protocol, count)


RECIPES: dict[str, Recipe] = {
    "fid": Recipe(_frechet),
    "fd": Recipe(_frechet),
    "kid": Recipe(_kernel),
    "kd": Recipe(_kernel),
    "pr": Recipe(_precision_recall),
    "is": Recipe(_inception_score),
    "cis": Recipe(_conditional_score),
    "ppl": Recipe(_path_length, _paths),
    "ls": Recipe(_separability, lambda *_: draws.CodedSamples()),
    "lpips": Recipe(_error()),
    "pd": Recipe(_error()),
    "l1": Recipe(_error(reconstruction.l1)),
    "l2": Recipe(_error(reconstruction.l2)),
    "reciprocity": Recipe(lambda *_: measures.Reciprocity(), lambda *_: draws.Codes()),
    "probe1nn": _probe(nearest_neighbour_accuracy),
    "probesvm": _probe(probes.chosen_svm_accuracy),
    "diversity": Recipe(_diversity, _style_pairs),
    "msssim": Recipe(_similarity, _pairs),
}
"""Name of a metric in `alae_core.metrics.table` -> its recipe."""


def _sampling(protocol: Protocol) -> Sampling:
    return Sampling(truncation=protocol.truncation, mixing_probability=protocol.mixing)


@dataclass(frozen=True)
class _Similarity:
    """MS-SSIM [n] of two batches of images in [-1, 1], rounded to bytes."""

    rounding: draws.Rounding

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        first, second = (draws.as_bytes(images, self.rounding).permute(0, 3, 1, 2) for images in (a, b))
        return ms_ssim.ms_ssim(first, second).values


@dataclass(frozen=True)
class _OfRounded:
    """Distance [n] of reconstructions from their images, in units of [-1, 1].

    The official rounding turns the reconstructions into bytes first; otherwise nothing is rounded.
    """

    distance: pretrained.Distance
    rounding: draws.Rounding

    def __call__(self, reconstructions: Tensor, reals: Tensor) -> Tensor:
        if self.rounding == "official":
            reconstructions = draws.as_bytes(reconstructions, "official").permute(0, 3, 1, 2) / 127.5 - 1.0
        with torch.no_grad():
            return self.distance(reconstructions, reals)
