"""From the names of metrics to what is drawn for each and how it is measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alae_core.algorithm import Sampling
from alae_core.metrics import ms_ssim, reconstruction
from alae_core.metrics.probes import nearest_neighbour_accuracy
from alae_core.metrics.protocol import PROBES, Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation import draws, measures, probes, requirements, translation_measures
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.features.attributes import Attributes, ensure_attributes
from pipelines.evaluation.features.counterparts import Counterparts, matches
from pipelines.evaluation.features.extractors import extractor
from pipelines.evaluation.features.reference import Reals
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig


@dataclass(frozen=True)
class Task:
    """One metric: what is drawn for it, how many, and how it is measured."""

    protocol: Protocol
    stream: draws.Stream
    count: int
    measure: measures.Measure
    notes: tuple[str, ...] = ()
    """What each of its numbers is told with."""
    left_out: str = ""
    """Why it cannot be taken at the subject's level; then nothing is drawn."""
    weights: str = ""
    """Digest of the weights that it takes features by."""


class Planner:
    """Plans metrics of one subject; weights are read once for all that need them."""

    def __init__(self, subject: Subject, datasets: Sequence[Dataset], config: EvaluationConfig) -> None:
        """`datasets`: one per domain."""
        self.subject = subject
        self.datasets = datasets
        self.config = config
        self._extractors: dict[tuple[str, bool, int], measures.Extractor] = {}
        self._counterparts_of: dict[Protocol, Counterparts] = {}
        self._perceptual: dict[str, pretrained.Perceptual] = {}
        self._found_attributes: Attributes | None = None

    def plan(self, names: Sequence[str]) -> list[Task]:
        """A task for each name; raises ValueError with the way out where one cannot be measured.

        What cannot be taken at the subject's level alone is left out, with the reason, for the other metrics' sake.
        """
        subject = self.subject
        can = {name: getattr(subject, name) for name in ("encodes", "encodes_long", "draws_styles")}
        requirements.check(names, self.config, self.datasets, **can)
        return [self._task(parse(name)) for name in names]

    def _task(self, protocol: Protocol) -> Task:
        count = min(protocol.images, self._available(protocol))
        stream, measure = self._stream(protocol, count), self._measure(protocol, count)
        if reason := requirements.left_out(protocol, self.subject.level.resolution):
            return Task(protocol, stream, 0, measure, left_out=reason)
        scored = self._compared(protocol).rows if protocol.metric in PROBES else 0
        drawn = count * (protocol.each or 1) + scored
        return Task(
            protocol, stream, drawn, measure, self._count_notes(protocol, count), weights=self._weights(protocol)
        )

    def _available(self, protocol: Protocol) -> int:
        """Images that there are to take it of."""
        if protocol.paired:
            return len(self._counterparts(protocol).matches)
        if protocol.of == "translations":
            return self._inputs(protocol).rows
        if protocol.metric in PROBES:
            return self._dataset(protocol).split("train").rows
        return self._compared(protocol).rows if protocol.of == "reconstructions" else protocol.images

    def _count_notes(self, protocol: Protocol, count: int) -> tuple[str, ...]:
        if protocol.paired and count < min(protocol.images, self._inputs(protocol).rows):
            return (f"only {count:,} of the split's {self._inputs(protocol).rows:,} images have a counterpart",)
        if count < protocol.images:
            return (f"the split has only {count:,} of the {protocol.images:,} images that the name says",)
        return ()

    def _stream(self, protocol: Protocol, count: int) -> draws.Stream:
        sampling = Sampling(truncation=protocol.truncation, mixing_probability=protocol.mixing)
        if protocol.of == "translations":
            return self._translations(protocol)
        if protocol.of == "reconstructions":
            return draws.Reconstructions(protocol.split)
        if protocol.metric == "reciprocity":
            return draws.Codes()
        if protocol.metric in PROBES:
            return draws.RealCodes(count, protocol.split, protocol.long)
        if protocol.metric == "ls":
            return draws.CodedSamples()
        if protocol.metric == "ppl":
            assert protocol.space and protocol.path, "a protocol of ppl has both"
            return draws.Paths(protocol.space, protocol.path, protocol.crop)
        if protocol.metric == "msssim":
            return draws.Pairs(sampling)
        return draws.Samples(sampling)

    def _translations(self, protocol: Protocol) -> draws.Stream:
        to = requirements.domain_of(protocol)
        if protocol.paired:
            pairs = tuple((int(own), int(other)) for own, other in self._counterparts(protocol).matches)
            return draws.PairedTranslations(to, protocol.split, pairs)
        if protocol.metric == "diversity":
            return draws.StylePairs(to, protocol.split, protocol.each or 1)
        return draws.Translations(to, protocol.split, protocol.each or 1)

    def _measure(self, protocol: Protocol, count: int) -> measures.Measure:
        rounding = protocol.rounding
        match protocol.metric:
            case "fid" | "fd":
                return measures.Frechet(self._reals(protocol), rounding, count, self._baselines(protocol))
            case "kid" | "kd":
                draw = protocol.subsets or 0, protocol.subset_size or 0
                return measures.Kernel(self._reals(protocol), rounding, *draw, self._baselines(protocol))
            case "pr":
                return measures.PrecisionRecall(self._reals(protocol), rounding, protocol.neighbours or 0)
            case "is":
                return measures.InceptionScore(self._extractor(protocol), rounding, count)
            case "cis":
                return translation_measures.ConditionalScore(
                    self._extractor(protocol), rounding, each=protocol.each or 1
                )
            case "diversity":
                distance = _OfRounded(self._perceptual_distance(protocol), rounding)
                compared, resolution = self._compared(protocol), self.subject.level.resolution
                return translation_measures.Diversity(distance, protocol.each or 1, compared, resolution)
            case "ppl":
                return measures.PathLength(self._perceptual_distance(protocol))
            case "ls":
                assert protocol.space, "a protocol of ls has one"
                return measures.Separability(self._attributes(), protocol.space, rounding)
            case "probe1nn":
                return measures.Probe(nearest_neighbour_accuracy, count)
            case "probesvm":
                return measures.Probe(probes.chosen_svm_accuracy, count)
            case "reciprocity":
                return measures.Reciprocity()
            case "msssim":
                return measures.Mean(_Similarity(rounding))
            case _:
                value = {"l1": reconstruction.l1, "l2": reconstruction.l2}.get(protocol.metric)
                distance = _OfRounded(value or self._perceptual_distance(protocol), rounding)
                if not protocol.paired:
                    return measures.Mean(distance)
                name = f"{protocol.metric} {self._weights(protocol)} {rounding}"
                return translation_measures.Paired(distance, counterparts=self._counterparts(protocol), name=name)

    def _dataset(self, protocol: Protocol) -> Dataset:
        return self.datasets[requirements.domain_of(protocol)]

    def _compared(self, protocol: Protocol) -> Split:
        """The images that the metric's are compared with."""
        return self._dataset(protocol).split(protocol.split)

    def _inputs(self, protocol: Protocol) -> Split:
        """The images that are translated."""
        return self.datasets[1 - requirements.domain_of(protocol)].split(protocol.split)

    def _counterparts(self, protocol: Protocol) -> Counterparts:
        if protocol not in self._counterparts_of:
            self._counterparts_of[protocol] = Counterparts(
                source=self.datasets[1 - requirements.domain_of(protocol)],
                target=self._dataset(protocol),
                split=protocol.split,
                resolution=self.subject.level.resolution,
                matches=matches(self._inputs(protocol), self._compared(protocol))[: protocol.images],
            )
        return self._counterparts_of[protocol]

    def _reals(self, protocol: Protocol) -> Reals:
        return Reals(
            dataset=self._dataset(protocol),
            extractor=self._extractor(protocol),
            resolution=self.subject.level.resolution,
            split=protocol.split,
            count=None if protocol.full else protocol.images,
            mirrored=protocol.mirrored,
        )

    def _baselines(self, protocol: Protocol) -> tuple[Reals, ...]:
        """As many images of the other domain as are translated, and of this one's train split."""
        if not protocol.to:
            return ()
        asked = replace(self._reals(protocol), count=protocol.images, mirrored=False)
        identity = replace(asked, dataset=self.datasets[1 - requirements.domain_of(protocol)])
        return (identity, replace(asked, split="train"))[: len(protocol.baselines)]

    def _extractor(self, protocol: Protocol) -> measures.Extractor:
        own = requirements.domain_of(protocol) if protocol.extractor in ("classifier", "pixels") else 0
        key = protocol.extractor, protocol.resize == "clean", own
        if key not in self._extractors:
            self._extractors[key] = extractor(key[0], self._dataset(protocol), self.config, clean=key[1])
        return self._extractors[key]

    def _attributes(self) -> Attributes:
        if self._found_attributes is None:
            self._found_attributes = ensure_attributes(self.datasets[0])
        return self._found_attributes

    def _weights(self, protocol: Protocol) -> str:
        if protocol.metric == "ls":
            return self._attributes().extractor.digest
        if protocol.metric in requirements.PERCEPTUAL:
            return self._perceptual_distance(protocol).digest
        return self._extractor(protocol).digest if protocol.extractor else ""

    def _perceptual_distance(self, protocol: Protocol) -> pretrained.Perceptual:
        if protocol.extractor not in self._perceptual:
            self._perceptual[protocol.extractor] = _perceptual(protocol.extractor, self.config)
        return self._perceptual[protocol.extractor]


def _perceptual(name: str, config: EvaluationConfig) -> pretrained.Perceptual:
    if name == "lite0":
        return pretrained.lite0_distance()
    if name == "alexnet":
        assert config.alexnet_weights and config.alexnet_heads, "checked before"
        return pretrained.alexnet_distance(config.alexnet_weights, config.alexnet_heads)
    assert config.vgg16_weights and config.lpips_heads, "checked before"
    return pretrained.perceptual_distance(config.vgg16_weights, config.lpips_heads)


@dataclass(frozen=True)
class _Similarity:
    """MS-SSIM [n] of two batches of images in [-1, 1], as bytes."""

    rounding: draws.Rounding

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        first, second = (draws.as_bytes(images, self.rounding).permute(0, 3, 1, 2) for images in (a, b))
        return ms_ssim.ms_ssim(first, second).values


@dataclass(frozen=True)
class _OfRounded:
    """A distance [n] of reconstructions from their images, in the units of [-1, 1].

    By the official rounding the reconstructions become bytes first; by the usual one nothing is rounded.
    """

    distance: pretrained.Distance
    rounding: draws.Rounding

    def __call__(self, reconstructions: Tensor, reals: Tensor) -> Tensor:
        if self.rounding == "official":
            reconstructions = draws.as_bytes(reconstructions, "official").permute(0, 3, 1, 2) / 127.5 - 1.0
        with torch.no_grad():
            return self.distance(reconstructions, reals)
