"""Metrics as accumulators: what each keeps of the batches it is shown, how two such parts merge, and the estimates at the end.

Everything kept is float64 or numbered by image, so that any division of the batches gives the same result to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
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
from pipelines.evaluation.attributes import Attributes
from pipelines.evaluation.extractor import Extractor
from pipelines.evaluation.reals import Reals
from pipelines.evaluation.streams import Drawn, Rounding

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


class _Mergeable:
    """Parts that merge by their own `merge`."""

    def start(self) -> Part:
        raise NotImplementedError

    def merge(self, parts: list[Part]) -> Part:
        def joined(whole: Part, part: Part) -> Part:
            whole.merge(part)
            return whole

        return reduce(joined, parts, self.start())


@dataclass(frozen=True)
class Frechet(_Mergeable):
    """Fréchet distance from the reals."""

    reals: Reals
    rounding: Rounding
    images: int

    def start(self) -> FeatureBlocks:
        return FeatureBlocks(self.reals.extractor.dimension, max(min(BLOCKS, self.images), 2))

    def add(self, part: FeatureBlocks, numbers: Tensor, drawn: Drawn) -> None:
        part.update(drawn.features(self.reals.extractor, self.rounding)[: len(numbers)], numbers)

    def finish(self, part: FeatureBlocks) -> list[Estimate]:
        return [frechet_estimate(self.reals.statistics(), part)]


@dataclass(frozen=True)
class _OfFeatures(_Mergeable):
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

    def finish(self, part: Rows) -> list[Estimate]:
        features = self.reals.features(), part.ordered()
        if not self.subsets:
            return [kernel.kernel_distance(*features)]
        return [kernel.kernel_distance_of_subsets(*features, subsets=self.subsets, subset_size=self.subset_size)]


@dataclass(frozen=True)
class PrecisionRecall(_OfFeatures):
    """Precision, then recall."""

    neighbours: int

    def finish(self, part: Rows) -> list[Estimate]:
        return list(precision_recall(self.reals.features(), part.ordered(), neighbours=self.neighbours))


@dataclass(frozen=True)
class InceptionScore:
    """Inception score over ten parts of the images in a row."""

    extractor: Extractor
    rounding: Rounding
    images: int

    def start(self) -> dict[int, LabelStatistics]:
        return {}

    def add(self, part: dict[int, LabelStatistics], numbers: Tensor, drawn: Drawn) -> None:
        classes = drawn.classes(self.extractor, self.rounding)[: len(numbers)]
        splits = numbers * IS_SPLITS // self.images
        for split in splits.unique().tolist():
            part.setdefault(split, LabelStatistics(classes.shape[1])).update(classes[splits == split])

    def merge(self, parts: list[dict[int, LabelStatistics]]) -> dict[int, LabelStatistics]:
        merged: dict[int, LabelStatistics] = {}
        for part in parts:
            for split, statistics in part.items():
                merged.setdefault(split, LabelStatistics(len(statistics.sum))).merge(statistics)
        return merged

    def finish(self, part: dict[int, LabelStatistics]) -> list[Estimate]:
        return [inception_score([part[split] for split in sorted(part)])]


@dataclass(frozen=True)
class Mean(_Mergeable):
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
class PathLength(_Mergeable):
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


@dataclass(frozen=True)
class Probe(_OfPairsOfRows):
    """Share of real images whose label a probe names by their code; the first `train` are those that it learns from."""

    accuracy: Callable[[Tensor, Tensor, Tensor, Tensor], Estimate]
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


class Reciprocity(_Mergeable):
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
