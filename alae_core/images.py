"""uint8 images in [0, 255] to and from float in [-1, 1]; the pyramid's box average; the blend."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 [N, R, R, C] -> float32 [N, C, R, R] in [-1, 1], channels last in memory as they came."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """float [N, C, R, R] in [-1, 1], clipped and rounded -> uint8 [N, R, R, C]."""
    return _bytes(images.detach().float().add(1.0).mul(127.5).round_())


def to_uint8_floored(images: Tensor) -> Tensor:
    """As `to_uint8`, but by the official ALAE's floor of 127 (x + 1), which makes 254 of 1."""
    return _bytes(images.detach().float().add(1.0).mul(127.0).floor_())


def _bytes(whole: Tensor) -> Tensor:
    """Whole numbers [N, C, R, R], clipped -> uint8 [N, R, R, C]."""
    return whole.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def box_halve(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] -> [N, H/2, W/2, C]: the mean of each 2x2 block, rounded half up."""
    wide = images.astype(np.uint16)
    total = wide[:, 0::2, 0::2] + wide[:, 0::2, 1::2] + wide[:, 1::2, 0::2] + wide[:, 1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def blend_with_coarser(images: Tensor, blend: float) -> Tensor:
    """[N, C, R, R] -> blend * images + (1 - blend) * their 2x2 averages (ProGAN's fade-in of the reals)."""
    if blend >= 1.0:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
    return torch.lerp(coarse, images, blend)


def flip_some(images: Tensor, chance: Tensor) -> Tensor:
    """Mirror the images [N, C, R, R] whose `chance` [N] is below one half."""
    return torch.where((chance < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
