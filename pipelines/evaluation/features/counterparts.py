"""Pairs of images with the same id in two domains, and baselines for the distance of translations from them.

Training never uses the pairs; they serve only metrics of domains with paired images.
"""

from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines import storage
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation.draws import real_images
from pipelines.evaluation.features.extractor import batches
from pipelines.evaluation.features.extractors import content, stored
from pipelines.evaluation.features.pretrained import Distance
from pipelines.storage.digests import short_digest

SEARCHED_PX = 64
"""Resolution at which larger images are compared in the search for the nearest one."""

Matches = NDArray[np.int64]
"""Rows int64 [n, 2] of images in one split, and of the images with the same ids in another."""


def matches(inputs: Split, truths: Split) -> Matches:
    """Return the rows of the images of `inputs` whose id is also in `truths`, in order, with the rows of the latter."""
    rows = {name: row for row, name in enumerate(truths.ids(np.arange(truths.rows)))}
    names = inputs.ids(np.arange(inputs.rows))
    found = [(row, rows[name]) for row, name in enumerate(names) if name in rows]
    return np.array(found, np.int64).reshape(-1, 2)


@dataclass(frozen=True, kw_only=True)
class Counterparts:
    """Images of `source` and the images with the same ids in `target`, of one split at one resolution."""

    source: Dataset
    target: Dataset
    split: str
    resolution: int
    matches: Matches

    def baselines(self, name: str, distance: Distance) -> dict[str, Tensor]:
        """Return distances float64 [n] of three baselines from the counterparts.

        `identity`: the input; `mean`: the mean train image of `target`; `nearest`: the train image of `target` nearest to
        the input in pixels. They are stored with `target` under `name`, which must identify the distance.
        """
        path = self._path(name)
        if storage.exists(path):
            return safetensors.torch.load(storage.read_bytes(path))
        found = self._measured(distance)
        if self._whole:
            storage.write_bytes_verified(path, safetensors.torch.save(found))
        return found

    def _measured(self, distance: Distance) -> dict[str, Tensor]:
        inputs, truths = (dataset.split(self.split) for dataset in (self.source, self.target))
        train = self.target.split("train")
        mean, nearest = self._mean(train), self._nearest(inputs, train)
        parts: dict[str, list[Tensor]] = {"identity": [], "mean": [], "nearest": []}
        start = 0
        for size in batches(len(self.matches), self.resolution):
            own, other = self.matches[start : start + size].T
            counterparts = self._read(truths, other)
            instead = {
                "identity": self._read(inputs, own),
                "mean": mean.expand_as(counterparts),
                "nearest": self._read(train, nearest[start : start + size]),
            }
            for kind, images in instead.items():
                parts[kind].append(distance(images, counterparts).double().cpu())
            start += size
        return {kind: torch.cat(distances) for kind, distances in parts.items()}

    def _mean(self, train: Split) -> Tensor:
        """Mean image float [C, R, R] of a split."""
        total = torch.zeros(train.channels, self.resolution, self.resolution, dtype=torch.float64)
        for rows in np.split(*_cuts(train.rows, self.resolution)):
            total += self._read(train, rows).double().sum(0)
        return (total / train.rows).float()

    def _nearest(self, inputs: Split, train: Split) -> NDArray[np.int64]:
        """Row in `train` of the image with the smallest squared difference from each input."""
        side = min(self.resolution, SEARCHED_PX)
        wanted = real_images(inputs, side, self.matches[:, 0]).flatten(1)
        best, row = torch.full((len(wanted),), torch.inf), torch.zeros(len(wanted), dtype=torch.int64)
        for rows in np.split(*_cuts(train.rows, side)):
            shown = real_images(train, side, rows).flatten(1)
            # Without the squared norm of the input, which is the same for all.
            nearest, place = (shown.square().sum(1) - 2 * wanted @ shown.T).min(1)
            closer = nearest < best
            best, row = torch.where(closer, nearest, best), torch.where(closer, place + int(rows[0]), row)
        return row.numpy()

    def _read(self, split: Split, rows: NDArray[np.int64]) -> Tensor:
        return real_images(split, self.resolution, rows)

    @property
    def _whole(self) -> bool:
        """Whether all images could be read; otherwise the result is not stored."""
        read = (self.source.split(self.split), self.target.split(self.split), self.target.split("train"))
        return not any(split.replaced for split in read)

    def _path(self, name: str) -> str:
        images = [content(self.source, self.split), content(self.target, self.split), content(self.target)]
        key = short_digest("|".join([name, *images, str(self.resolution), str(len(self.matches))]))
        return stored(self.target, f"baselines_r{self.resolution}_{key}.safetensors")


def _cuts(count: int, resolution: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows int64 [count], and the positions at which batches begin."""
    return np.arange(count), np.cumsum(batches(count, resolution))[:-1]
