"""What metrics are taken of, drawn batch by batch: samples, pairs, reconstructions, paths and codes.

A batch is a function of the subject and its number, so that any process can draw any of them; metrics that ask for the same
stream share its batches, and the features taken of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import images
from alae_core.algorithm import Batch, Sampling
from alae_core.metrics import path_length
from pipelines.data.shards import Dataset, Split
from pipelines.evaluation.extractor import Extractor
from pipelines.evaluation.reals import blended
from pipelines.evaluation.subject import Subject

Rounding = Literal["nearest", "official"]


@dataclass(frozen=True)
class Drawn:
    """One batch: float [n, ...], and their counterparts where a stream makes pairs."""

    first: Tensor
    second: Tensor | None = None
    _taken: dict[tuple[str, str, str], Tensor] = field(default_factory=dict)

    def features(self, extractor: Extractor, rounding: Rounding) -> Tensor:
        """Features [n, D] of the first as bytes, taken once for all metrics."""
        return self._once(extractor, rounding, "features", extractor)

    def classes(self, extractor: Extractor, rounding: Rounding) -> Tensor:
        """Probabilities [n, K] of the first as bytes, taken once for all metrics."""
        return self._once(extractor, rounding, "classes", extractor.classes)

    def _once(self, extractor: Extractor, rounding: Rounding, what: str, take: Callable[[Tensor], Tensor]) -> Tensor:
        key = (extractor.digest, rounding, what)
        if key not in self._taken:
            self._taken[key] = take(as_bytes(self.first, rounding))
        return self._taken[key]


class Stream(Protocol):
    """A hashable description; equal streams draw equal batches."""

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        """Batch `number`, whose first member is number `start` of the stream."""
        ...


@dataclass(frozen=True)
class Samples:
    """Generated images."""

    sampling: Sampling

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        return Drawn(subject.generate(subject.batch(number, size), self.sampling))


@dataclass(frozen=True)
class Pairs:
    """Two independent generated images."""

    sampling: Sampling

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        others = subject.batch(number, size, purpose="second of a pair")
        return Drawn(
            subject.generate(subject.batch(number, size), self.sampling), subject.generate(others, self.sampling)
        )


@dataclass(frozen=True)
class Reconstructions:
    """Encoded and decoded images of a split, with the images themselves."""

    split: str

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        real = blended(dataset.split(self.split), subject.level.resolution, subject.level.blend, start, size)
        reconstructed = subject.reconstruction(real)
        assert reconstructed is not None, "a plan asks only those that encode"
        return Drawn(reconstructed, real)


@dataclass(frozen=True)
class Codes:
    """w of random z, and what the encoder finds in their images."""

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        batch = subject.batch(number, size, purpose="codes")
        w = subject.mapped(batch.noise("z", subject.latent))
        again = subject.batch(number, size, subject.decoded(w, batch), purpose="codes")
        return Drawn(w, subject.encoded(again))


@dataclass(frozen=True)
class CodedSamples:
    """Generated images, with the z and w [n, 2, D] that they are made of."""

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        batch = subject.batch(number, size, purpose="coded samples")
        z = batch.noise("z", subject.latent)
        w = subject.mapped(z)
        return Drawn(subject.decoded(w, batch), torch.stack([z, w], 1))


@dataclass(frozen=True)
class RealCodes:
    """Codes of real images with their labels, int64 [n], -1 for none: `train` of the train split, then those of another."""

    train: int
    split: str
    long: bool

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        taken = max(min(self.train - start, size), 0)
        pieces = [("train", start, taken), (self.split, start + taken - self.train, size - taken)]
        coded = [self._coded(subject, dataset.split(name), first, count) for name, first, count in pieces if count]
        codes, labels = zip(*coded, strict=True)
        return Drawn(torch.cat(codes), torch.cat(labels))

    def _coded(self, subject: Subject, split: Split, first: int, count: int) -> tuple[Tensor, Tensor]:
        real = blended(split, subject.level.resolution, subject.level.blend, first, count)
        encode = subject.encoded_long if self.long else subject.encoded
        return encode(subject.batch(0, count, real)), torch.from_numpy(self._labels(split, first, count))

    def _labels(self, split: Split, first: int, count: int) -> NDArray[np.int64]:
        rows = np.arange(first, first + count)
        # In the place of a damaged image stands another, whose label is not this one.
        return np.where(np.isin(rows, list(split.replaced)), -1, split.labels(rows))


@dataclass(frozen=True)
class Paths:
    """Images at a random place of the path between two codes, and a small step on; same noise, never rounded."""

    space: Literal["z", "w"]
    path: Literal["full", "end"]
    crop: path_length.Crop

    def draw(self, subject: Subject, dataset: Dataset, number: int, start: int, size: int) -> Drawn:
        with path_length.exact_products():
            return self._small_steps(subject, subject.batch(number, size, purpose="paths"))

    def _small_steps(self, subject: Subject, batch: Batch) -> Drawn:
        start_code, end_code = (batch.noise(name, subject.latent) for name in ("start", "end"))
        if self.space == "w":
            start_code, end_code = subject.mapped(start_code), subject.mapped(end_code)
        along = path_length.lerp if self.space == "w" else path_length.slerp
        t = path_length.positions(batch.uniform("t"), self.path)

        def image(place: Tensor) -> Tensor:
            code = along(start_code, end_code, place)
            made = subject.decoded(code if self.space == "w" else subject.mapped(code), batch)
            return path_length.comparable(made, self.crop)

        return Drawn(image(t), image(t + path_length.EPSILON))


def as_bytes(content: Tensor, rounding: Rounding) -> Tensor:
    """float [N, C, R, R] in [-1, 1] -> uint8 [N, R, R, C]."""
    return (images.to_uint8 if rounding == "nearest" else images.to_uint8_floored)(content)


def positions(start: int, count: int) -> Tensor:
    """Numbers int64 [count] of members from `start` on."""
    return torch.arange(start, start + count)
