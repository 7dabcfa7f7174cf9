"""From the names of metrics to what is drawn for each and how it is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alae_core.algorithm import Sampling
from alae_core.metrics import ms_ssim, reconstruction
from alae_core.metrics.probes import nearest_neighbour_accuracy
from alae_core.metrics.protocol import PROBES, Protocol
from alae_core.metrics.protocol_names import parse
from pipelines.data.shards import Dataset
from pipelines.evaluation import measures, pretrained, probes, requirements, streams
from pipelines.evaluation.attributes import Attributes, ensure_attributes
from pipelines.evaluation.extractors import extractor
from pipelines.evaluation.reals import Reals
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig


@dataclass(frozen=True)
class Task:
    """One metric: what is drawn for it, how many, and how it is measured."""

    protocol: Protocol
    stream: streams.Stream
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

    def __init__(self, subject: Subject, dataset: Dataset, config: EvaluationConfig) -> None:
        self.subject = subject
        self.dataset = dataset
        self.config = config
        self._extractors: dict[tuple[str, bool], measures.Extractor] = {}
        self._perceptual: pretrained.Perceptual | None = None
        self._found_attributes: Attributes | None = None

    def plan(self, names: Sequence[str]) -> list[Task]:
        """A task for each name; raises ValueError with the way out where one cannot be measured.

        What cannot be taken at the subject's level alone is left out, with the reason, for the other metrics' sake.
        """
        subject = self.subject
        requirements.check(names, self.config, self.dataset, encodes=subject.encodes, encodes_long=subject.encodes_long)
        return [self._task(parse(name)) for name in names]

    def _task(self, protocol: Protocol) -> Task:
        count = min(protocol.images, self._available(protocol))
        stream, measure = self._stream(protocol, count), self._measure(protocol, count)
        if reason := requirements.left_out(protocol, self.subject.level.resolution):
            return Task(protocol, stream, 0, measure, left_out=reason)
        scored = self.dataset.split(protocol.split).rows if protocol.metric in PROBES else 0
        notes = _count_notes(protocol, count)
        return Task(protocol, stream, count + scored, measure, notes, weights=self._weights(protocol))

    def _available(self, protocol: Protocol) -> int:
        if protocol.metric in PROBES:
            return self.dataset.split("train").rows
        return self.dataset.split(protocol.split).rows if protocol.of == "reconstructions" else protocol.images

    def _stream(self, protocol: Protocol, count: int) -> streams.Stream:
        sampling = Sampling(truncation=protocol.truncation, mixing_probability=protocol.mixing)
        if protocol.of == "reconstructions":
            return streams.Reconstructions(protocol.split)
        if protocol.metric == "reciprocity":
            return streams.Codes()
        if protocol.metric in PROBES:
            return streams.RealCodes(count, protocol.split, protocol.long)
        if protocol.metric == "ls":
            return streams.CodedSamples()
        if protocol.metric == "ppl":
            assert protocol.space and protocol.path, "a protocol of ppl has both"
            return streams.Paths(protocol.space, protocol.path, protocol.crop)
        if protocol.metric == "msssim":
            return streams.Pairs(sampling)
        return streams.Samples(sampling)

    def _measure(self, protocol: Protocol, count: int) -> measures.Measure:
        rounding = protocol.rounding
        match protocol.metric:
            case "fid" | "fd":
                return measures.Frechet(self._reals(protocol), rounding, count)
            case "kid" | "kd":
                return measures.Kernel(
                    self._reals(protocol), rounding, protocol.subsets or 0, protocol.subset_size or 0
                )
            case "pr":
                return measures.PrecisionRecall(self._reals(protocol), rounding, protocol.neighbours or 0)
            case "is":
                return measures.InceptionScore(self._extractor(protocol), rounding, count)
            case "ppl":
                return measures.PathLength(self._perceptual_distance())
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
                return measures.Mean(_OfRounded(value or self._perceptual_distance(), rounding))

    def _reals(self, protocol: Protocol) -> Reals:
        return Reals(
            dataset=self.dataset,
            extractor=self._extractor(protocol),
            resolution=self.subject.level.resolution,
            split=protocol.split,
            count=None if protocol.full else protocol.images,
            mirrored=protocol.mirrored,
        )

    def _extractor(self, protocol: Protocol) -> measures.Extractor:
        key = protocol.extractor, protocol.resize == "clean"
        if key not in self._extractors:
            self._extractors[key] = extractor(key[0], self.dataset, self.config, clean=key[1])
        return self._extractors[key]

    def _attributes(self) -> Attributes:
        if self._found_attributes is None:
            self._found_attributes = ensure_attributes(self.dataset)
        return self._found_attributes

    def _weights(self, protocol: Protocol) -> str:
        if protocol.metric == "ls":
            return self._attributes().extractor.digest
        if protocol.metric in requirements.PERCEPTUAL:
            return self._perceptual_distance().digest
        return self._extractor(protocol).digest if protocol.extractor else ""

    def _perceptual_distance(self) -> pretrained.Perceptual:
        if self._perceptual is None:
            assert self.config.vgg16_weights and self.config.lpips_heads, "checked before"
            self._perceptual = pretrained.perceptual_distance(self.config.vgg16_weights, self.config.lpips_heads)
        return self._perceptual


def _count_notes(protocol: Protocol, count: int) -> tuple[str, ...]:
    if count < protocol.images:
        return (f"the split has only {count:,} of the {protocol.images:,} images that the name says",)
    return ()


@dataclass(frozen=True)
class _Similarity:
    """MS-SSIM [n] of two batches of images in [-1, 1], as bytes."""

    rounding: streams.Rounding

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        first, second = (streams.as_bytes(images, self.rounding).permute(0, 3, 1, 2) for images in (a, b))
        return ms_ssim.ms_ssim(first, second).values


@dataclass(frozen=True)
class _OfRounded:
    """A distance [n] of reconstructions from their images, in the units of [-1, 1].

    By the official rounding the reconstructions become bytes first; by the usual one nothing is rounded.
    """

    distance: pretrained.Distance
    rounding: streams.Rounding

    def __call__(self, reconstructions: Tensor, reals: Tensor) -> Tensor:
        if self.rounding == "official":
            reconstructions = streams.as_bytes(reconstructions, "official").permute(0, 3, 1, 2) / 127.5 - 1.0
        with torch.no_grad():
            return self.distance(reconstructions, reals)
