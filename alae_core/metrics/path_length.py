"""Perceptual path length: the change of an image for a small step of its code (Karras et al. 2019, StyleGAN, section 4.1).

Images stay in float32. A step of 1e-4 changes them by less than a grey level, so with uint8, bfloat16 or TF32 the metric
would measure rounding.
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
"""Function of codes [n, D] that returns images [n, C, R, R], with the same noise at every call."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Function of two batches of images that returns [n], quadratic in small differences, such as LPIPS."""

Crop = Literal["none", "face", "celeba"]
EPSILON = 1e-4
LARGEST_SIDE = 256
"""Largest side in pixels; larger images are shrunk before they are compared."""
TRIM = 0.01
"""Share of the lengths that is discarded at each end."""


@contextmanager
def exact_products() -> Iterator[None]:
    """Context without TF32 in float32 products and convolutions, whatever the process allows elsewhere."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation from `a` to `b`, both [n, D], at `t` [n], for codes in W."""
    return torch.lerp(a, b, t.unsqueeze(1))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation from `a` to `b`, both [n, D], at `t` [n], normalised to length 1, for codes in Z."""
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
    """Perceptual lengths [n] of paths from `start` to `end`, both [n, D], at `t` [n].

    t uniform in [0, 1) gives the "full" length, t = 0 the length at the "end".
    """
    # 1/eps^2 d(G(path(t)), G(path(t + eps))) (StyleGAN, section 4.1)
    here = generate(interpolate(start, end, t))
    there = generate(interpolate(start, end, t + epsilon))
    return distance(here, there) / epsilon**2


def positions(uniform: Tensor, sampling: Literal["full", "end"]) -> Tensor:
    """Positions t [n] on the paths: `uniform` [n] in [0, 1) for "full", 0 for "end"."""
    return uniform if sampling == "full" else torch.zeros_like(uniform)


def comparable(images: Tensor, crop: Crop = "none") -> Tensor:
    """Crop images [N, C, H, W] and shrink them to at most 256 px by box averages, as StyleGAN's script does.

    "face" is the lower middle of an aligned face, rows 3/8 to 7/8 and columns 2/8 to 6/8. "celeba" is the official ALAE's
    crop for CelebA at 128 px: a square of side H / 1.641 centred at (5/8 H, 4/8 W). Raises ValueError if a side above 256
    is not a multiple of 256.
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
    """Mean of the lengths [n] between their 1st and 99th percentile, both included."""
    low, high = _percentiles(lengths.double())
    lengths = lengths.double()
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def path_length_estimate(lengths: Tensor) -> Estimate:
    """Estimate of `filtered_mean` from independent lengths [n], with the standard error of a trimmed mean.

    Raises ValueError for fewer than two lengths or a length that is not finite.
    """
    # se = std(lengths clamped to the percentiles) / ((1 - 2 trim) sqrt(n)) (Tukey and McLaughlin 1963)
    if len(lengths) < 2 or not torch.isfinite(lengths).all():
        raise ValueError(f"{len(lengths)} lengths have no trimmed mean; give at least 2, all finite")
    clamped = lengths.double().clamp(*_percentiles(lengths.double()))
    error = float(clamped.std()) / ((1 - 2 * TRIM) * math.sqrt(len(lengths)))
    return Estimate(filtered_mean(lengths), error, len(lengths))


def _percentiles(lengths: Tensor) -> tuple[float, float]:
    # Sorted, because torch.quantile is limited to 16 million values.
    ordered = lengths.sort().values
    last = len(ordered) - 1
    return float(ordered[math.floor(TRIM * last)]), float(ordered[math.ceil((1 - TRIM) * last)])


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)
