"""Metrics as accumulators: each adds batches to a part, merges parts of several processes, and returns estimates.

Parts hold float64 sums or rows with their positions, so the division into batches affects the result only by rounding.
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
"""State that a measure accumulates from its batches; it can be pickled."""


class Measure(Protocol):
    """One metric of a stream."""

    def start(self) -> Part:
        """Return an empty part."""
        ...

    def add(self, part: Part, numbers: Tensor, drawn: Drawn) -> None:
        """Add the first len(numbers) members of a batch; `numbers` int64 [n] are their positions in the stream."""
        ...

    def merge(self, parts: list[Part]) -> Part:
        """Merge parts in any order into one."""
        ...

    def finish(self, part: Part) -> list[Estimate]:
        """Return one estimate per key of the protocol."""
        ...


class Rows:
    """Rows with their positions in the stream, sorted at the end."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []

    def merge(self, other: "Rows") -> None:
        """Add the rows of `other`."""
        self.parts += other.parts

    def ordered(self) -> Tensor:
        """Return the rows [N, ...] in the order of their positions."""
        return in_order(self.parts)


class Mergeable:
    """Base of measures whose parts have a method `merge`."""

    def start(self) -> Part:
        raise NotImplementedError

    def merge(self, parts: list[Part]) -> Part:
        def joined(whole: Part, part: Part) -> Part:
            whole.merge(part)
            return whole

        return reduce(joined, parts, self.start())


@dataclass(frozen=True)
class Frechet(Mergeable):
    """Fréchet distance between the images and the reals."""

    reals: Reals
    rounding: Rounding
    images: int
    baselines: tuple[Reals, ...] = ()
    """Real images that are also measured, instead of the generated ones."""

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
    """Base of measures that need all features at the end."""

    reals: Reals
    rounding: Rounding

    def start(self) -> Rows:
        return Rows()

    def add(self, part: Rows, numbers: Tensor, drawn: Drawn) -> None:
        features = drawn.features(self.reals.extractor, self.rounding)[: len(numbers)]
        part.parts.append((numbers, features.cpu()))


@dataclass(frozen=True)
class Kernel(_OfFeatures):
    """Kernel distance between the images and the reals; `subsets` = 0: one estimate from all pairs."""

    subsets: int
    subset_size: int
    baselines: tuple[Reals, ...] = ()
    """Real images that are also measured, instead of the generated ones."""

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
    """Precision and recall, in this order."""

    neighbours: int

    def finish(self, part: Rows) -> list[Estimate]:
        return list(precision_recall(self.reals.features(), part.ordered(), neighbours=self.neighbours))


@dataclass(frozen=True)
class OfClasses:
    """Base of Inception scores: sums of class probabilities by group of images."""

    extractor: Extractor
    rounding: Rounding

    def groups(self, numbers: Tensor) -> Tensor:
        """Return the group, int64 [n], of each image."""
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
    """Inception score over ten consecutive parts of the images."""

    images: int

    def groups(self, numbers: Tensor) -> Tensor:
        return numbers * IS_SPLITS // self.images

    def finish(self, part: dict[int, LabelStatistics]) -> list[Estimate]:
        return [inception_score([part[split] for split in sorted(part)])]


@dataclass(frozen=True)
class Mean(Mergeable):
    """Mean of a function of each pair."""

    value: Callable[[Tensor, Tensor], Tensor]
    """Function of two batches [n, ...] to values [n]."""
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
    """Perceptual path length for a distance between images."""

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
    """Base of measures whose parts are two sets of rows with positions."""

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
    """Linear separability in Z or W of the attributes that a classifier predicts from the images."""

    attributes: Attributes
    space: Literal["z", "w"]
    rounding: Rounding

    def add(self, part: tuple[Rows, Rows], numbers: Tensor, drawn: Drawn) -> None:
        assert drawn.second is not None
        # A view would keep the other space in memory.
        codes = drawn.second[:, "zw".index(self.space)].contiguous()
        self.keep(part, numbers, codes, drawn.classes(self.attributes.extractor, self.rounding))

    def finish(self, part: tuple[Rows, Rows]) -> list[Estimate]:
        codes, probabilities = (rows.ordered().numpy() for rows in part)
        return [planes.separability(codes, probabilities, self.attributes.accuracies)]


Accuracy = Callable[[Tensor, Tensor, Tensor, Tensor], Estimate]
"""Function of train codes, train labels, test codes and test labels to the accuracy on the test codes."""


@dataclass(frozen=True)
class Probe(_OfPairsOfRows):
    """Accuracy of a probe that predicts labels of real images from codes; it is fitted to the first `train` images."""

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
    """Mean squared distance between w and the encoder's code of its image; a note gives its share of the codes' variance."""

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
    """Add a note with both image counts to the estimates."""
    return [
        replace(found, notes=(f"{found.count:,} images against {reals.rows:,} real ones", *found.notes))
        for found in estimates
    ]
