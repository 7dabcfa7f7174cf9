"""What features are taken by, and how many images at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Features = Callable[[Tensor], Tensor]
"""uint8 images [N, R, R, C] -> float32 [N, D]."""


@dataclass(frozen=True)
class Extractor:
    """uint8 images [N, R, R, C] -> features [N, dimension]; `digest` names its weights."""

    name: str
    resolution: int
    """The side that coarser images are enlarged to by repeating pixels; 0 if it resizes images of any side itself."""
    dimension: int
    digest: str
    features: Features
    probabilities: Features | None = None
    """Of classes, [N, K]; None without classes."""
    resize: str = "none; coarser images by repeating pixels"
    """How it resizes, for people."""
    at_once: int = 250
    """Images that it takes at a time: a large network's activations of more would fill the memory."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of uint8 images [N, r, r, C]."""
        return self._in_parts(self.features, images)

    @torch.no_grad()
    def classes(self, images: Tensor) -> Tensor:
        """Probabilities [N, K] of uint8 images [N, r, r, C]; ValueError if it names no classes."""
        if self.probabilities is None:
            raise ValueError(f"{self.name} names no classes; take inception or classifier")
        return self._in_parts(self.probabilities, images)

    def _in_parts(self, function: Features, images: Tensor) -> Tensor:
        return torch.cat([function(self._enlarged(part)) for part in images.split(self.at_once)])

    def _enlarged(self, images: Tensor) -> Tensor:
        factor = self.resolution // images.shape[1]
        return images.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else images


def most_at_once(resolution: int) -> int:
    """Images of one batch: 250, or fewer where 250 images above 64 px would fill the memory."""
    return max(min(250, 2**20 // resolution**2), 1)


def batches(count: int, resolution: int) -> list[int]:
    """Sizes of the batches that `count` images come in."""
    most = most_at_once(resolution)
    return [min(most, count - start) for start in range(0, count, most)]
