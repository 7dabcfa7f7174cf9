"""Perceptual path length: how far an image moves for a small step of its code (Karras et al. 2019, StyleGAN, section 4.1).

Images stay float32: a step of 1e-4 moves them by less than a grey level, so that rounding them to bytes, to bfloat16 or in
TF32 products would measure the rounding.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.metrics.estimate import Estimate

Generate = Callable[[Tensor], Tensor]
"""Codes [n, D] -> images [n, C, R, R]; with the same noise at every call."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images -> [n], growing with the square of a small difference, as LPIPS does."""

Crop = Literal["none", "face", "celeba"]
EPSILON = 1e-4
LARGEST_SIDE = 256
"""Pixels; larger images are shrunk before they are compared."""
TRIM = 0.01
"""Share of the lengths left out at each end."""


@contextmanager
def exact_products() -> Iterator[None]:
    """Within it no product or convolution of float32 is taken in TF32, whatever the process allows elsewhere."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Straight line from `a` to `b` [n, D] at `t` [n]: for codes in W."""
    return torch.lerp(a, b, t.unsqueeze(1))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Great circle between the directions of `a` and `b` [n, D] at `t` [n], of length 1: for codes in Z."""
    a, b = _unit(a), _unit(b)
    cosine = (a * b).sum(1, keepdim=True).clamp(-1.0, 1.0)
    angle = t.unsqueeze(1) * torch.acos(cosine)
    across = _unit(b - cosine * a)
    return _unit(a * torch.cos(angle) + across * torch.sin(angle))


def path_lengths(
    generate: Generate,
    distance: Distance,
    start: Tensor,
    end: Tensor,
    t: Tensor,
    *,
    interpolate: Callable[[Tensor, Tensor, Tensor], Tensor] = lerp,
    epsilon: float = EPSILON,
) -> Tensor:
    """d(G(path(t)), G(path(t + epsilon))) / epsilon^2 [n], for paths from `start` to `end` [n, D] at `t` [n].

    t uniform in [0, 1) gives the "full" length, t = 0 that at the "end".
    """
    here = generate(interpolate(start, end, t))
    there = generate(interpolate(start, end, t + epsilon))
    return distance(here, there) / epsilon**2


def positions(uniform: Tensor, sampling: Literal["full", "end"]) -> Tensor:
    """Where on their paths the lengths are taken, of `uniform` [n] in [0, 1): there ("full"), or at the start ("end")."""
    return uniform if sampling == "full" else torch.zeros_like(uniform)


def comparable(images: Tensor, crop: Crop = "none") -> Tensor:
    """What StyleGAN's script compares of images [N, C, H, W]: the crop, box-averaged to 256 px or less where larger.

    "face" is the lower middle of an aligned face, rows 3/8 to 7/8 and columns 2/8 to 6/8. "celeba" is the official ALAE's
    for CelebA at 128 px: a square about (5/8 H, 4/8 W) of side H / 1.641. Raises ValueError where the side is no whole
    multiple of 256.
    """
    height, width = images.shape[2:]
    if crop == "face":
        images = images[:, :, height * 3 // 8 : height * 7 // 8, width * 2 // 8 : width * 6 // 8]
    elif crop == "celeba":
        side = round(height / 1.641)
        top, left = round(height * 5 / 8 - side / 2), round(width * 4 / 8 - side / 2)
        images = images[:, :, top : top + side, left : left + side]
    side = images.shape[2]
    if side <= LARGEST_SIDE:
        return images
    if side % LARGEST_SIDE:
        raise ValueError(
            f"images of {side} px after the crop do not shrink evenly to {LARGEST_SIDE} px; resize them first"
        )
    return F.avg_pool2d(images, side // LARGEST_SIDE)


def unfit(side: int, crop: Crop) -> str:
    """Why `comparable` refuses images of `side` px; "" where it does not."""
    try:
        comparable(torch.empty(1, 1, side, side, device="meta"), crop)
    except ValueError as error:
        return str(error)
    return ""


def filtered_mean(lengths: Tensor) -> float:
    """The mean of the lengths [n] within their 1st and 99th percentile, both included."""
    low, high = _percentiles(lengths.double())
    lengths = lengths.double()
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def path_length_estimate(lengths: Tensor) -> Estimate:
    """`filtered_mean` of independent lengths [n] with the standard error of a trimmed mean (Tukey and McLaughlin 1963).

    That is the deviation of the lengths clamped to the two percentiles, over (1 - 2 x 1 %) sqrt(n): what is left out still
    says where the percentiles lie. Raises ValueError below two lengths or where one is not finite.
    """
    if len(lengths) < 2 or not torch.isfinite(lengths).all():
        raise ValueError(f"{len(lengths)} lengths have no trimmed mean; give at least 2, all finite")
    clamped = lengths.double().clamp(*_percentiles(lengths.double()))
    error = float(clamped.std()) / ((1 - 2 * TRIM) * math.sqrt(len(lengths)))
    return Estimate(filtered_mean(lengths), error, len(lengths))


def _percentiles(lengths: Tensor) -> tuple[float, float]:
    # By sorting: torch.quantile takes 16 million values at most.
    ordered = lengths.sort().values
    last = len(ordered) - 1
    return float(ordered[math.floor(TRIM * last)]), float(ordered[math.ceil((1 - TRIM) * last)])


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)
