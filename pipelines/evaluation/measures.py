"""Metrics as accumulators: what each keeps of the batches it is shown, how two such parts merge, and the estimates at the end.

Everything kept is float64 or numbered by image, so that any division of the batches gives the same result to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from alae_core.metrics import kernel, reconstruction
from alae_core.metrics.estimate import Estimate, RunningMean
from alae_core.metrics.features import in_order
from alae_core.metrics.frechet_blocks import BLOCKS, FeatureBlocks, frechet_estimate
from alae_core.metrics.inception_score import LabelStatistics, inception_score
from alae_core.metrics.path_length import EPSILON, exact_products, path_length_estimate
from alae_core.metrics.precision_recall import precision_recall
from pipelines.evaluation import planes
from pipelines.evaluation.draws import Drawn, Rounding
from pipelines.evaluation.features.attributes import Attributes
from pipelines.evaluation.features.extractor import Extractor
from pipelines.evaluation.features.reference import Reals

IS_SPLITS = 10
Part = Any
"""What a measure keeps of the batches it was shown; it can be pickled."""


class Measure(Protocol):
    """One metric of one stream."""

    def start(self) -> Part:
        """What is kept before the first batch."""
        ...

    def add(self, part: Part, numbers: Tensor, drawn: Drawn) -> None:
        """Take in the first len(numbers) members of a batch, int64 [n] their places in the stream."""
        ...

    def merge(self, parts: list[Part]) -> Part:
        """One part of several, whatever their order."""
        ...

    def finish(self, part: Part) -> list[Estimate]:
        """An estimate for each of the protocol's keys."""
        ...


class Rows:
    """Numbered rows, put in order at the end."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []

    def merge(self, other: "Rows") -> None:
        """Add everything `other` holds."""
        self.parts += other.parts

    def ordered(self) -> Tensor:
        """[N, ...] by number."""
        return in_order(self.parts)


class Mergeable:
    """Parts that merge by their own `merge`."""

    def start(self) -> Part:
        raise NotImplementedError

    def merge(self, parts: list[Part]) -> Part:
        def joined(whole: Part, part: Part) -> Part:
            whole.merge(part)
            return whole

        return reduce(joined, parts, self.start())


@dataclass(frozen=True)
class Frechet(Mergeable):
    """Fréchet distance from the reals."""

    reals: Reals
    rounding: Rounding
    images: int
    baselines: tuple[Reals, ...] = ()
    """Real images to measure too, in the place of the generated ones."""

    def start(self) -> FeatureBlocks:
        return self._blocks(self.images)

    def add(self, part: FeatureBlocks, numbers: Tensor, drawn: Drawn) -> None:
        part.update(drawn.features(self.reals.extractor, self.rounding)[: len(numbers)], numbers)

    def finish(self, part: FeatureBlocks) -> list[Estimate]:
        statistics = self.reals.statistics()
        found = [frechet_estimate(statistics, blocks) for blocks in (part, *map(self._baseline, self.baselines))]
        return _with_counts(found, self.reals) if self.baselines else found

    def _blocks(self, images: int) -> FeatureBlocks:
        return FeatureBlocks(self.reals.extractor.dimension, max(min(BLOCKS, images), 2))

    def _baseline(self, baseline: Reals) -> FeatureBlocks:
        features, blocks = baseline.features(), self._blocks(baseline.rows)
        blocks.update(features, torch.arange(len(features)))
        return blocks


@dataclass(frozen=True)
class _OfFeatures(Mergeable):
    """What needs whole sets of features."""

    reals: Reals
    rounding: Rounding

    def start(self) -> Rows:
        return Rows()

    def add(self, part: Rows, numbers: Tensor, drawn: Drawn) -> None:
        features = drawn.features(self.reals.extractor, self.rounding)[: len(numbers)]
        part.parts.append((numbers, features.cpu()))


@dataclass(frozen=True)
class Kernel(_OfFeatures):
    """Kernel distance from the reals; `subsets` = 0 takes one estimate from all pairs."""

    subsets: int
    subset_size: int
    baselines: tuple[Reals, ...] = ()
    """Real images to measure too, in the place of the generated ones."""

    def finish(self, part: Rows) -> list[Estimate]:
        real = self.reals.features()
        others = (baseline.features() for baseline in self.baselines)
        found = [self._distance(real, features) for features in (part.ordered(), *others)]
        return _with_counts(found, self.reals) if self.baselines else found

    def _distance(self, real: Tensor, features: Tensor) -> Estimate:
        if not self.subsets:
            return kernel.kernel_distance(real, features)
        return kernel.kernel_distance_of_subsets(real, features, subsets=self.subsets, subset_size=self.subset_size)


@dataclass(frozen=True)
class PrecisionRecall(_OfFeatures):
    """Precision, then recall."""

    neighbours: int

    def finish(self, part: Rows) -> list[Estimate]:
        return list(precision_recall(self.reals.features(), part.ordered(), neighbours=self.neighbours))


@dataclass(frozen=True)
class OfClasses:
    """Parts of the labels that a classifier gives to groups of images."""

    extractor: Extractor
    rounding: Rounding

    def groups(self, numbers: Tensor) -> Tensor:
        """The group, int64 [n], of each image."""
        raise NotImplementedError

    def start(self) -> dict[int, LabelStatistics]:
        return {}

    def add(self, part: dict[int, LabelStatistics], numbers: Tensor, drawn: Drawn) -> None:
        classes = drawn.classes(self.extractor, self.rounding)[: len(numbers)]
        groups = self.groups(numbers)
        for group in groups.unique().tolist():
            part.setdefault(group, LabelStatistics(classes.shape[1])).update(classes[groups == group])

    def merge(self, parts: list[dict[int, LabelStatistics]]) -> dict[int, LabelStatistics]:
        merged: dict[int, LabelStatistics] = {}
        for part in parts:
            for group, statistics in part.items():
                merged.setdefault(group, LabelStatistics(len(statistics.sum))).merge(statistics)
        return merged


@dataclass(frozen=True)
class InceptionScore(OfClasses):
    """Inception score over ten parts of the images in a row."""

    images: int

    def groups(self, numbers: Tensor) -> Tensor:
        return numbers * IS_SPLITS // self.images

    def finish(self, part: dict[int, LabelStatistics]) -> list[Estimate]:
        return [inception_score([part[split] for split in sorted(part)])]


@dataclass(frozen=True)
class Mean(Mergeable):
    """Mean of a value of each pair."""

    value: Callable[[Tensor, Tensor], Tensor]
    """Two batches [n, ...] -> [n]."""
    notes: tuple[str, ...] = ()

    def start(self) -> RunningMean:
        return RunningMean()

    def add(self, part: RunningMean, numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        part.update(self.value(drawn.first[: len(numbers)], drawn.second[: len(numbers)]))

    def finish(self, part: RunningMean) -> list[Estimate]:
        return [part.estimate(self.notes)]


@dataclass(frozen=True)
class PathLength(Mergeable):
    """Perceptual path length under a distance between images."""

    distance: Callable[[Tensor, Tensor], Tensor]

    def start(self) -> Rows:
        return Rows()

    def add(self, part: Rows, numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        with exact_products():
            lengths = self.distance(drawn.first[: len(numbers)], drawn.second[: len(numbers)]) / EPSILON**2
        part.parts.append((numbers, lengths.double().cpu()))

    def finish(self, part: Rows) -> list[Estimate]:
        return [path_length_estimate(part.ordered())]


@dataclass(frozen=True)
class _OfPairsOfRows:
    """Parts of two sets of numbered rows."""

    def start(self) -> tuple[Rows, Rows]:
        return Rows(), Rows()

    def keep(self, part: tuple[Rows, Rows], numbers: Tensor, *rows: Tensor) -> None:
        for kept, content in zip(part, rows, strict=True):
            kept.parts.append((numbers, content[: len(numbers)].cpu()))

    def merge(self, parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
        merged = self.start()
        for part in parts:
            for whole, rows in zip(merged, part, strict=True):
                whole.merge(rows)
        return merged


@dataclass(frozen=True)
class Separability(_OfPairsOfRows):
    """Linear separability in Z or W of the attributes that a classifier finds in the images."""

    attributes: Attributes
    space: Literal["z", "w"]
    rounding: Rounding

    def add(self, part: tuple[Rows, Rows], numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        codes = drawn.second[:, "zw".index(self.space)].contiguous()  # else it takes the other space along
        self.keep(part, numbers, codes, drawn.classes(self.attributes.extractor, self.rounding))

    def finish(self, part: tuple[Rows, Rows]) -> list[Estimate]:
        codes, probabilities = (rows.ordered().numpy() for rows in part)
        return [planes.separability(codes, probabilities, self.attributes.accuracies)]


Accuracy = Callable[[Tensor, Tensor, Tensor, Tensor], Estimate]
"""(train codes, train labels, other codes, other labels) -> share of the others whose label is found."""


@dataclass(frozen=True)
class Probe(_OfPairsOfRows):
    """Share of real images whose label a probe names by their code; the first `train` are those that it learns from."""

    accuracy: Accuracy
    train: int

    def add(self, part: tuple[Rows, Rows], numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        self.keep(part, numbers, drawn.first, drawn.second)

    def finish(self, part: tuple[Rows, Rows]) -> list[Estimate]:
        codes, labels = (rows.ordered() for rows in part)
        first, rest = slice(None, self.train), slice(self.train, None)
        sides = [(codes[side][labels[side] >= 0], labels[side][labels[side] >= 0]) for side in (first, rest)]
        if not all(len(known) for _, known in sides):
            raise ValueError("a probe needs labelled images on both sides, and one has none; pack them with labels")
        return [self.accuracy(*sides[0], *sides[1])]


class Reciprocity(Mergeable):
    """Mean squared distance of w from what the encoder finds, with its share of the codes' variance as a note."""

    def start(self) -> Rows:
        return Rows()

    def add(self, part: Rows, numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        part.parts.append((numbers, torch.stack([drawn.first, drawn.second], 1)[: len(numbers)].cpu()))

    def finish(self, part: Rows) -> list[Estimate]:
        codes, recovered = part.ordered().unbind(1)
        share = reconstruction.unexplained(codes, recovered)
        mean = RunningMean()
        mean.update(reconstruction.reciprocity(codes, recovered))
        note = f"{share} of the codes' variance; W has no scale of its own, so only this share compares models"
        return [mean.estimate((note,))]


def _with_counts(estimates: Sequence[Estimate], reals: Reals) -> list[Estimate]:
    """The estimates with both numbers of images among their notes."""
    return [
        replace(found, notes=(f"{found.count:,} images against {reals.rows:,} real ones", *found.notes))
        for found in estimates
    ]
