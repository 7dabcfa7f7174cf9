"""uint8 images in [0, 255] to and from float in [-1, 1]; the pyramid's box average; the blend."""

import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.halving import box_halve as box_halve


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


def shift(images: Tensor, chance: Tensor, share: float) -> Tensor:
    """Move each image [N, C, R, R] by up to `share` of its side both ways, as `chance` [N, 2] in [0, 1) says.

    What comes in at the border is the image's own reflection, as if a larger one were cropped at random.
    """
    size = images.shape[-1]
    most = int(share * size)
    moved = (chance * (2 * most + 1)).long() - most
    pixel = (torch.arange(size, device=images.device) + moved[:, :, None]).abs()
    rows, columns = ((size - 1) - (size - 1 - pixel).abs()).unbind(1)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    found = images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2)


def flip_some(images: Tensor, chance: Tensor) -> Tensor:
    """Mirror the images [N, C, R, R] whose `chance` [N] is below one half."""
    return torch.where((chance < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
