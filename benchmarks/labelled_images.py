"""Small sets of labelled images with held-out ones, and a classifier that scores generated images and reconstructions."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from alae_core import images
from alae_core.metrics.classifier import FEATURES, train_classifier
from alae_core.metrics.frechet import FeatureStatistics, frechet_distance

Pixels = NDArray[np.uint8]
ATTRIBUTES = ("light_skin", "dark_hair", "glasses", "facial_hair")
"""Attributes of the faces; their 16 combinations are the classes."""
DIGITS = 10
HELD_OUT = 500
AT_ONCE = 250


# Compared by identity, because one classifier is kept for each set.
@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Images, uint8 [N, R, R, C], and their classes [N]; the last HELD_OUT are held out."""

    pixels: Pixels
    labels: NDArray[np.int64]
    classes: int

    @property
    def train(self) -> Pixels:
        return self.pixels[:-HELD_OUT]

    @property
    def held_out(self) -> Pixels:
        return self.pixels[-HELD_OUT:]


def read(path: Path, resolution: int = 32) -> LabelledImages:
    """Read faces of a .parquet file, box-averaged, or digits of an .npz file, zero-padded; ValueError for other files."""
    if path.suffix == ".parquet":
        return _faces(path, resolution)
    if path.suffix == ".npz":
        return _digits(path, resolution)
    raise ValueError(f"--data: {path} is neither a .parquet file of faces nor an .npz file of digits; give one of them")


def halved(pixels: Pixels, resolution: int) -> Pixels:
    """Shrink uint8 images [N, R, R, C] to `resolution` by box averages."""
    while pixels.shape[1] > resolution:
        pixels = images.box_halve(pixels)
    return pixels


class Judge:
    """Classifier of the labels, trained once at one resolution, whose features compare sets of images.

    Distances at different resolutions or of different datasets are not comparable.
    """

    def __init__(self, real: LabelledImages, resolution: int) -> None:
        train, held_out = halved(real.train, resolution), halved(real.held_out, resolution)
        with torch.enable_grad():
            trained = train_classifier(train, real.labels[:-HELD_OUT], classes=real.classes, seed=0)
        self._module, self._truth = trained.module, real.labels[-HELD_OUT:]
        self._reference = self._statistics(np.array_split(train, 20))
        self.accuracy = self.kept(held_out)
        """Accuracy of the classifier on the held-out images, in [0, 1]."""

    def distance(self, generated: Iterable[Pixels]) -> float:
        """Fréchet distance of images [n, R, R, C] to all training images."""
        return frechet_distance(self._reference, self._statistics(generated))

    @torch.no_grad()
    def kept(self, reconstructions: Pixels) -> float:
        """Share of the held-out images whose reconstruction, out of [HELD_OUT, R, R, C], has the image's own class."""
        parts = np.array_split(reconstructions, HELD_OUT // AT_ONCE)
        found = [self._module(images.to_float(torch.from_numpy(part))).argmax(1).numpy() for part in parts]
        return float((np.concatenate(found) == self._truth).mean())

    @torch.no_grad()
    def _statistics(self, parts: Iterable[Pixels]) -> FeatureStatistics:
        statistics = FeatureStatistics(FEATURES)
        for part in parts:
            statistics.update(self._module.features(images.to_float(torch.from_numpy(part))))
        return statistics


judge = cache(Judge)


def _faces(path: Path, resolution: int) -> LabelledImages:
    table = pq.read_table(path)
    pixels = np.stack([halved(_decoded(data)[None], resolution)[0] for data in table["image"].to_pylist()])
    bits = [np.asarray(table[name].to_pylist(), np.int64) << place for place, name in enumerate(ATTRIBUTES)]
    return LabelledImages(pixels=pixels, labels=np.sum(bits, axis=0), classes=2 ** len(ATTRIBUTES))


def _digits(path: Path, resolution: int) -> LabelledImages:
    with np.load(path) as file:
        pixels, labels = file["images"], file["labels"].astype(np.int64)
    border = (resolution - pixels.shape[1]) // 2
    padded = np.pad(pixels, ((0, 0), (border, border), (border, border)))
    return LabelledImages(pixels=padded[..., None], labels=labels, classes=DIGITS)


def _decoded(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
