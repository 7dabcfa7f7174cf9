"""Streams that metrics are computed from: samples, pairs, reconstructions, translations, paths and codes, in batches.

A batch is a function of the subject and the batch number, so any process can draw any batch. Metrics with equal streams
share its batches and their features.
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
from pipelines.data.format.shards import Dataset, Rows, Split
from pipelines.evaluation.features.extractor import Extractor
from pipelines.evaluation.features.reference import blended
from pipelines.evaluation.subject import Subject

Rounding = Literal["nearest", "official"]
Datasets = tuple[Dataset, ...]
"""One dataset per domain."""


@dataclass(frozen=True)
class Drawn:
    """One batch, float [n, ...]; `second` holds the counterparts if the stream draws pairs."""

    first: Tensor
    second: Tensor | None = None
    _taken: dict[tuple[str, str, str], Tensor] = field(default_factory=dict)

    def features(self, extractor: Extractor, rounding: Rounding) -> Tensor:
        """Features [n, D] of `first`, rounded to bytes; computed once for all metrics."""
        return self._once(extractor, rounding, "features", extractor)

    def classes(self, extractor: Extractor, rounding: Rounding) -> Tensor:
        """Class probabilities [n, K] of `first`, rounded to bytes; computed once for all metrics."""
        return self._once(extractor, rounding, "classes", extractor.classes)

    def _once(self, extractor: Extractor, rounding: Rounding, what: str, take: Callable[[Tensor], Tensor]) -> Tensor:
        key = (extractor.digest, rounding, what)
        if key not in self._taken:
            self._taken[key] = take(as_bytes(self.first, rounding))
        return self._taken[key]


class Stream(Protocol):
    """Hashable description of a stream; equal streams draw equal batches."""

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        """Draw batch `number` of `size` members; its first member has position `start` in the stream."""
        ...


@dataclass(frozen=True)
class Samples:
    """Generated images."""

    sampling: Sampling

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        return Drawn(subject.generate(subject.batch(number, size), self.sampling))


@dataclass(frozen=True)
class Pairs:
    """Pairs of independently generated images."""

    sampling: Sampling

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        others = subject.batch(number, size, purpose="second of a pair")
        return Drawn(
            subject.generate(subject.batch(number, size), self.sampling), subject.generate(others, self.sampling)
        )


@dataclass(frozen=True)
class Reconstructions:
    """Reconstructions of the images of a split, with the images as `second`."""

    split: str

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        real = blended(datasets[0].split(self.split), subject.level.resolution, subject.level.blend, start, size)
        reconstructed = subject.reconstruction(real)
        assert reconstructed is not None, "a plan asks only those that encode"
        return Drawn(reconstructed, real)


@dataclass(frozen=True)
class Translations:
    """Translations of the other domain's split to domain `to`, `each` consecutive ones per image."""

    to: int
    split: str
    each: int = 1

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        return Drawn(subject.translated(self._inputs(subject, datasets, start, size), self.to, number))

    def _inputs(self, subject: Subject, datasets: Datasets, start: int, size: int) -> Tensor:
        rows = np.arange(start, start + size) // self.each
        distinct = real_images(datasets[1 - self.to].split(self.split), subject.level.resolution, np.unique(rows))
        return distinct[rows - rows[0]]


@dataclass(frozen=True)
class StylePairs(Translations):
    """Pairs of translations of one image with independent styles, `each` consecutive pairs per image."""

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        inputs = self._inputs(subject, datasets, start, size)
        first, second = (
            subject.translated(inputs, self.to, number, purpose) for purpose in ("translations", "second of a pair")
        )
        return Drawn(first, second)


@dataclass(frozen=True)
class PairedTranslations:
    """Translations with their counterparts, the true images of domain `to`, as `second`."""

    to: int
    split: str
    matches: tuple[tuple[int, int], ...]
    """For each input: its row in the split of the other domain, and the row of its counterpart in domain `to`."""

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        inputs, truths = np.array(self.matches[start : start + size], np.int64).T
        size_px = subject.level.resolution
        real = real_images(datasets[1 - self.to].split(self.split), size_px, inputs)
        counterparts = real_images(datasets[self.to].split(self.split), size_px, truths)
        return Drawn(subject.translated(real, self.to, number), counterparts)


@dataclass(frozen=True)
class Codes:
    """Codes w [n, D] of random z, with the codes that the encoder returns for their images as `second`."""

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        batch = subject.batch(number, size, purpose="codes")
        w = subject.mapped(batch.noise("z", subject.latent))
        again = subject.batch(number, size, subject.decoded(w, batch), purpose="codes")
        return Drawn(w, subject.encoded(again))


@dataclass(frozen=True)
class CodedSamples:
    """Generated images, with their z and w [n, 2, D] as `second`."""

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        batch = subject.batch(number, size, purpose="coded samples")
        z = batch.noise("z", subject.latent)
        w = subject.mapped(z)
        return Drawn(subject.decoded(w, batch), torch.stack([z, w], 1))


@dataclass(frozen=True)
class RealCodes:
    """Codes of real images, with labels int64 [n] (-1: none): the first `train` of the train split, then those of `split`."""

    train: int
    split: str
    long: bool

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
        taken = max(min(self.train - start, size), 0)
        pieces = [("train", start, taken), (self.split, start + taken - self.train, size - taken)]
        coded = [self._coded(subject, datasets[0].split(name), first, count) for name, first, count in pieces if count]
        codes, labels = zip(*coded, strict=True)
        return Drawn(torch.cat(codes), torch.cat(labels))

    def _coded(self, subject: Subject, split: Split, first: int, count: int) -> tuple[Tensor, Tensor]:
        real = blended(split, subject.level.resolution, subject.level.blend, first, count)
        encode = subject.encoded_long if self.long else subject.encoded
        return encode(subject.batch(0, count, real)), torch.from_numpy(self._labels(split, first, count))

    def _labels(self, split: Split, first: int, count: int) -> NDArray[np.int64]:
        rows = np.arange(first, first + count)
        # A damaged image is replaced by another one, to which this label does not belong.
        return np.where(np.isin(rows, list(split.replaced)), -1, split.labels(rows))


@dataclass(frozen=True)
class Paths:
    """Images at a random point between two codes and a small step further, with the same noise and without rounding."""

    space: Literal["z", "w"]
    path: Literal["full", "end"]
    crop: path_length.Crop

    def draw(self, subject: Subject, datasets: Datasets, number: int, start: int, size: int) -> Drawn:
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


def real_images(split: Split, resolution: int, rows: Rows) -> Tensor:
    """Images at `rows` of a split, float32 [n, C, R, R] in [-1, 1]."""
    return images.to_float(torch.from_numpy(split.read(resolution, rows)))


def as_bytes(content: Tensor, rounding: Rounding) -> Tensor:
    """Convert images float [N, C, R, R] in [-1, 1] to uint8 [N, R, R, C]."""
    return (images.to_uint8 if rounding == "nearest" else images.to_uint8_floored)(content)


def positions(start: int, count: int) -> Tensor:
    """Positions int64 [count] in a stream, from `start` on."""
    return torch.arange(start, start + count)
