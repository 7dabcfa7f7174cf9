"""Inputs of the metrics of one subject: images, datasets, extractors, distances, counterparts and attributes."""

from collections.abc import Sequence
from dataclasses import replace

from alae_core.metrics.protocol import Protocol
from pipelines.data.domains import FOLDERS
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.features.attributes import Attributes, ensure_attributes
from pipelines.evaluation.features.counterparts import Counterparts, matches
from pipelines.evaluation.features.extractor import Extractor
from pipelines.evaluation.features.extractors import extractor
from pipelines.evaluation.features.reference import Reals
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig


def domain_of(protocol: Protocol) -> int:
    """Index of the domain whose images a metric compares with: the target of translations, otherwise 0."""
    return FOLDERS.index(protocol.to) if protocol.to else 0


class Material:
    """The subject and its datasets; each weight file is read once for all metrics."""

    def __init__(self, subject: Subject, datasets: Sequence[Dataset], config: EvaluationConfig) -> None:
        """`datasets` has one dataset per domain."""
        self.subject = subject
        self.datasets = datasets
        self.config = config
        self._extractors: dict[tuple[str, bool, int], Extractor] = {}
        self._counterparts: dict[Protocol, Counterparts] = {}
        self._perceptual: dict[str, pretrained.Perceptual] = {}
        self._attributes: Attributes | None = None

    def dataset(self, protocol: Protocol) -> Dataset:
        """Return the dataset that the metric compares with."""
        return self.datasets[domain_of(protocol)]

    def compared(self, protocol: Protocol) -> Split:
        """Return the split of real images that the metric compares with."""
        return self.dataset(protocol).split(protocol.split)

    def inputs(self, protocol: Protocol) -> Split:
        """Return the split of the images that are translated."""
        return self.datasets[1 - domain_of(protocol)].split(protocol.split)

    def counterparts(self, protocol: Protocol) -> Counterparts:
        """Return the pairs of translated images and images with the same ids in the target domain."""
        if protocol not in self._counterparts:
            self._counterparts[protocol] = Counterparts(
                source=self.datasets[1 - domain_of(protocol)],
                target=self.dataset(protocol),
                split=protocol.split,
                resolution=self.subject.level.resolution,
                matches=matches(self.inputs(protocol), self.compared(protocol))[: protocol.images],
            )
        return self._counterparts[protocol]

    def reals(self, protocol: Protocol) -> Reals:
        """Return the real images that a distance is computed from, and their features."""
        return Reals(
            dataset=self.dataset(protocol),
            extractor=self.extractor(protocol),
            resolution=self.subject.level.resolution,
            split=protocol.split,
            count=None if protocol.full else protocol.images,
            mirrored=protocol.mirrored,
        )

    def baselines(self, protocol: Protocol) -> tuple[Reals, ...]:
        """Return baselines: the untranslated images of the other domain, and as many train images of the target domain."""
        if not protocol.to:
            return ()
        asked = replace(self.reals(protocol), count=protocol.images, mirrored=False)
        identity = replace(asked, dataset=self.datasets[1 - domain_of(protocol)])
        return (identity, replace(asked, split="train"))[: len(protocol.baselines)]

    def extractor(self, protocol: Protocol) -> Extractor:
        """Return the extractor of the metric's features."""
        own = domain_of(protocol) if protocol.extractor in ("classifier", "pixels") else 0
        key = protocol.extractor, protocol.resize == "clean", own
        if key not in self._extractors:
            self._extractors[key] = extractor(key[0], self.dataset(protocol), self.config, clean=key[1])
        return self._extractors[key]

    def attributes(self) -> Attributes:
        """Return the dataset's binary attributes and their classifier."""
        if self._attributes is None:
            self._attributes = ensure_attributes(self.datasets[0])
        return self._attributes

    def perceptual(self, protocol: Protocol) -> pretrained.Perceptual:
        """Return the distance between two images over the features of the metric's extractor."""
        if protocol.extractor not in self._perceptual:
            self._perceptual[protocol.extractor] = _perceptual(protocol.extractor, self.config)
        return self._perceptual[protocol.extractor]

    def weights(self, protocol: Protocol) -> str:
        """Return the digest of the extractor's weights; "" if the metric has none."""
        if protocol.row.attributes:
            return self.attributes().extractor.digest
        if protocol.row.perceptual:
            return self.perceptual(protocol).digest
        return self.extractor(protocol).digest if protocol.extractor else ""


def _perceptual(name: str, config: EvaluationConfig) -> pretrained.Perceptual:
    if name == "lite0":
        return pretrained.lite0_distance()
    if name == "alexnet":
        assert config.alexnet_weights and config.alexnet_heads, "checked before"
        return pretrained.alexnet_distance(config.alexnet_weights, config.alexnet_heads)
    assert config.vgg16_weights and config.lpips_heads, "checked before"
    return pretrained.perceptual_distance(config.vgg16_weights, config.lpips_heads)
