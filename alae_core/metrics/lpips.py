"""Learned perceptual distance between images, over any backbone (Zhang et al. 2018, LPIPS, arXiv:1801.03924, equation 1)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from alae_core.metrics.backbones import Backbone, lpips_inputs

Features = Callable[[Tensor], Sequence[Tensor]]
"""Images [N, C, H, W] in [-1, 1] -> feature maps [N, C_l, H_l, W_l], one a layer."""
TINY = 1e-10


class PerceptualDistance:
    """d(a, b) = sum over layers of the spatial mean of sum_c w_c (a_c - b_c)^2, of channels scaled to unit length.

    `weights` [C_l] for each layer are LPIPS' heads; without them every channel weighs 1, which is the paper's baseline and
    no LPIPS. Only VGG16 or AlexNet with their ImageNet weights and LPIPS' own heads give values to be called LPIPS.
    """

    def __init__(self, features: Features, weights: Sequence[Tensor] | None = None) -> None:
        self.features = features
        self.weights = weights

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of images [N, C, H, W] in [-1, 1]; raises ValueError where shapes differ or weights do not fit."""
        if a.shape != b.shape:
            raise ValueError(f"images of shapes {list(a.shape)} and {list(b.shape)} cannot be compared")
        maps_a, maps_b = self.features(a), self.features(b)
        channels = [features.shape[1] for features in maps_a]
        weights = (
            self.weights if self.weights is not None else [features.new_ones(features.shape[1]) for features in maps_a]
        )
        if [len(weight) for weight in weights] != channels:
            raise ValueError(
                f"weights for {[len(weight) for weight in weights]} channels do not fit features of {channels}; give the "
                "heads of this backbone"
            )
        distance = torch.zeros(len(a), device=a.device, dtype=maps_a[0].dtype)
        for layer_a, layer_b, weight in zip(maps_a, maps_b, weights, strict=True):
            squared = (_unit(layer_a) - _unit(layer_b)).square()
            distance = distance + torch.einsum("nchw,c->n", squared, weight.to(squared)) / squared[0, 0].numel()
        return distance


def lpips(backbone: Backbone, heads: Sequence[Tensor]) -> PerceptualDistance:
    """LPIPS version 0.1 over a backbone with its ImageNet weights and that backbone's heads (`backbones.lpips_heads`)."""
    return PerceptualDistance(lambda images: backbone(lpips_inputs(images)), heads)


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + TINY)
