"""Conversion between uint8 images in [0, 255] and float in [-1, 1], augmentation, the pyramid's box average, the fade-in."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.box_average import box_halve as box_halve


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 [N, R, R, C] to float32 [N, C, R, R] in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Convert float [N, C, R, R] in [-1, 1] to uint8 [N, R, R, C], clipped and rounded to nearest."""
    return _bytes(images.detach().float().add(1.0).mul(127.5).round_())


def to_uint8_floored(images: Tensor) -> Tensor:
    """As `to_uint8`, with the official ALAE's formula floor(127 (x + 1)), which maps 1 to 254."""
    return _bytes(images.detach().float().add(1.0).mul(127.0).floor_())


def _bytes(whole: Tensor) -> Tensor:
    """Clip integral float values [N, C, R, R] and convert them to uint8 [N, R, R, C]."""
    return whole.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def blend_with_coarser(images: Tensor, blend: float) -> Tensor:
    """Blend images [N, C, R, R] with their 2x2 averages; `blend` 1 returns them unchanged (ProGAN, section 2)."""
    # blend x + (1 - blend) up(avgpool(x))
    if blend >= 1.0:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
    return torch.lerp(coarse, images, blend)


FLAT = 1e-3
"""Standard deviation of values in [-1, 1]; a crop with less in every channel counts as constant."""


def shift(images: Tensor, chance: Tensor, share: float) -> Tensor:
    """Shift each image [N, C, R, R] along both axes by up to `share` of its side, with reflected borders.

    `chance` [N, 2] in [0, 1) selects the shift in rows and columns.
    """
    size = images.shape[-1]
    most = int(share * size)
    moved = (chance * (2 * most + 1)).long() - most
    pixel = (torch.arange(size, device=images.device) + moved[:, :, None]).abs()
    return _pixels_of(images, (size - 1) - (size - 1 - pixel).abs())


def cut_from_enlarged(images: Tensor, chance: Tensor, factor: float) -> Tensor:
    """Enlarge each image [N, C, R, R] bilinearly by `factor` and crop R x R pixels.

    `chance` [N, 2] in [0, 1) selects the crop's top and left in whole pixels. A nearly constant crop, which layer norm and
    instance norm turn into noise or NaN, is replaced by the original image.
    """
    size = images.shape[-1]
    larger = round(factor * size)
    enlarged = F.interpolate(images, size=(larger, larger), mode="bilinear", align_corners=False)
    corner = (chance * (larger - size + 1)).long()
    cut = _pixels_of(enlarged, torch.arange(size, device=images.device) + corner[:, :, None])
    flat = cut.std((2, 3), correction=0, keepdim=True).amax(1, keepdim=True) < FLAT
    return torch.where(flat, images, cut)


def _pixels_of(images: Tensor, places: Tensor) -> Tensor:
    """Pixels [N, C, S, S] of images [N, C, R, R] at rows `places[:, 0]` and columns `places[:, 1]`; `places` is [N, 2, S]."""
    rows, columns = places.unbind(1)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    found = images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def flip_some(images: Tensor, chance: Tensor) -> Tensor:
    """Mirror those images [N, C, R, R] horizontally whose `chance` [N] is below 0.5."""
    return torch.where((chance < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
