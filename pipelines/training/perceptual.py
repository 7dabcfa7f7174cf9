"""The features of a perceptual loss, computed with weights that the user supplies."""

from collections.abc import Callable

import torch
from torch import Tensor

from alae_core.algorithm import Algorithm
from alae_core.capabilities import ComparesFeatures
from alae_core.metrics import backbones
from pipelines.evaluation.features import weights

WEIGHTS = weights.WeightFile("training.vgg16_weights", weights.VGG16.known)


def give(algorithm: Algorithm, url: str | None, device: torch.device) -> None:
    """Set the `features` of an algorithm that compares images by them; do nothing for others, or if `url` is None.

    Errors as `weights.read`.
    """
    if url is not None and isinstance(algorithm, ComparesFeatures):
        algorithm.features = _deepest(url, device)


def _deepest(url: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Features [n, 512, H / 16, W / 16] of relu5_3, of images [n, 1 or 3, H, W] in [-1, 1]."""
    state, _ = weights.read(WEIGHTS, url)
    backbone = backbones.vgg16()
    backbone.load_torchvision(state)
    backbone.to(device)
    return lambda images: backbone(backbones.lpips_inputs(images))[-1]
