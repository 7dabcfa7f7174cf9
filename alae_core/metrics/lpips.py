"""Learned perceptual distance between images, over any backbone (LPIPS; Zhang et al. 2018, arXiv:1801.03924)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from alae_core.metrics.backbones import Backbone, lpips_inputs

Features = Callable[[Tensor], Sequence[Tensor]]
"""Function of images [N, C, H, W] in [-1, 1] that returns feature maps [N, C_l, H_l, W_l], one per layer."""
TINY = 1e-10


class PerceptualDistance:
    """Weighted squared distance of normalised deep features.

    `weights` [C_l] for each layer are LPIPS' heads; without them every channel weighs 1, which is the paper's baseline and
    not LPIPS. Only VGG16 or AlexNet with their ImageNet weights and LPIPS' heads give values that may be called LPIPS.
    """

    # d(a, b) = sum_l 1/(H_l W_l) sum_hw sum_c w_lc (a_lchw - b_lchw)^2, a and b of unit length over c (LPIPS, eq. 1)

    def __init__(self, features: Features, weights: Sequence[Tensor] | None = None) -> None:
        self.features = features
        self.weights = weights

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of images [N, C, H, W] in [-1, 1]; raises ValueError if shapes differ or weights do not fit."""
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
    """LPIPS version 0.1, from a backbone with its ImageNet weights and its heads (`backbones.lpips_heads`)."""
    return PerceptualDistance(lambda images: backbone(lpips_inputs(images)), heads)


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + TINY)
