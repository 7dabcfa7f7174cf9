"""Feature extractors: networks that turn images into features, and their batch sizes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Features = Callable[[Tensor], Tensor]
"""uint8 images [N, R, R, C] -> float32 [N, D]."""


@dataclass(frozen=True)
class Extractor:
    """Function of images uint8 [N, R, R, C] to features [N, dimension]; `digest` identifies its weights."""

    name: str
    resolution: int
    """Side in pixels to which smaller images are enlarged by repeating pixels; 0 if `features` accepts any side."""
    dimension: int
    digest: str
    features: Features
    probabilities: Features | None = None
    """Function of images to class probabilities [N, K]; None without classes."""
    resize: str = "none; coarser images by repeating pixels"
    """Description of the resizing."""
    at_once: int = 250
    """Largest batch; activations of a large network for more images would fill the memory."""

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features [N, dimension] of images uint8 [N, r, r, C]."""
        return self._in_parts(self.features, images)

    @torch.no_grad()
    def classes(self, images: Tensor) -> Tensor:
        """Class probabilities [N, K] of images uint8 [N, r, r, C]; raises ValueError without classes."""
        if self.probabilities is None:
            raise ValueError(f"{self.name} has no classes; use inception or classifier")
        return self._in_parts(self.probabilities, images)

    def _in_parts(self, function: Features, images: Tensor) -> Tensor:
        return torch.cat([function(self._enlarged(part)) for part in images.split(self.at_once)])

    def _enlarged(self, images: Tensor) -> Tensor:
        factor = self.resolution // images.shape[1]
        return images.repeat_interleave(factor, 1).repeat_interleave(factor, 2) if factor > 1 else images


def most_at_once(resolution: int) -> int:
    """Largest batch at this resolution: 250 images, or fewer above 64 px to limit memory."""
    return max(min(250, 2**20 // resolution**2), 1)


def batches(count: int, resolution: int) -> list[int]:
    """Sizes of the batches of `count` images."""
    most = most_at_once(resolution)
    return [min(most, count - start) for start in range(0, count, most)]
