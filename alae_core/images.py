"""uint8 images in [0, 255] to and from float in [-1, 1]; the pyramid's box average; the blend."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.box_average import box_halve as box_halve


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


def blend_with_coarser(images: Tensor, blend: float) -> Tensor:
    """[N, C, R, R] -> blend * images + (1 - blend) * their 2x2 averages (ProGAN's fade-in of the reals)."""
    if blend >= 1.0:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
    return torch.lerp(coarse, images, blend)


FLAT = 1e-3
"""A cut each of whose channels deviates less than this, in [-1, 1], is nearly constant."""


def shift(images: Tensor, chance: Tensor, share: float) -> Tensor:
    """Move each image [N, C, R, R] by up to `share` of its side both ways, as `chance` [N, 2] in [0, 1) says.

    What comes in at the border is the image's own reflection, as if a larger one were cropped at random.
    """
    size = images.shape[-1]
    most = int(share * size)
    moved = (chance * (2 * most + 1)).long() - most
    pixel = (torch.arange(size, device=images.device) + moved[:, :, None]).abs()
    return _pixels_of(images, (size - 1) - (size - 1 - pixel).abs())


def cut_from_enlarged(images: Tensor, chance: Tensor, factor: float) -> Tensor:
    """Enlarge each image [N, C, R, R] bilinearly to `factor` times its side, and cut R x R pixels out of it.

    `chance` [N, 2] in [0, 1) says where, in whole pixels from the top and the left. A nearly constant cut, which LayerNorm
    and instance norm turn into noise or NaN, is replaced by the image it came of.
    """
    size = images.shape[-1]
    larger = round(factor * size)
    enlarged = F.interpolate(images, size=(larger, larger), mode="bilinear", align_corners=False)
    corner = (chance * (larger - size + 1)).long()
    cut = _pixels_of(enlarged, torch.arange(size, device=images.device) + corner[:, :, None])
    flat = cut.std((2, 3), correction=0, keepdim=True).amax(1, keepdim=True) < FLAT
    return torch.where(flat, images, cut)


def _pixels_of(images: Tensor, places: Tensor) -> Tensor:
    """Of each image [N, C, R, R] the pixels at the rows `places[:, 0]` and columns `places[:, 1]`; `places`: [N, 2, S]."""
    rows, columns = places.unbind(1)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    found = images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def flip_some(images: Tensor, chance: Tensor) -> Tensor:
    """Mirror the images [N, C, R, R] whose `chance` [N] is below one half."""
    return torch.where((chance < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
