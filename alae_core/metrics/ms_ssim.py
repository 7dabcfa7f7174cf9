"""Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003, equation 7), as ProGAN and IntroVAE use it for diversity.

Window rule: a Gaussian of 11 pixels and deviation 1.5; where a scale's side is smaller, one of that side with the deviation
shrunk in proportion, as in ProGAN's script. Scales are halved while 8 pixels remain, so that 128 px and more have the five
of the paper, 64 px four, 32 px three; the weights of fewer scales are divided by their sum. A library that keeps the window
gives the same from 176 px on. Sides that are odd at some scale lose their last row or column there.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""From the finest scale to the coarsest (section 3.2)."""
WINDOW = 11
DEVIATION = 1.5
COARSEST_SIDE = 8
STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
"""C1 and C2 of SSIM, for values in [0, 255]."""


class Similarity(NamedTuple):
    """`values` [N], 1 for equal images; they compare only with those of as many scales and the same windows."""

    values: Tensor
    scales: int
    windows: tuple[int, ...]
    """Side of the window at each scale, in pixels, from the finest."""


def unfit(side: int, crop: str) -> str:
    """Why images of `side` px have no MS-SSIM; "" where they have one."""
    return "" if side >= COARSEST_SIDE else f"it needs images of {COARSEST_SIDE} px or more, and they have {side} px"


def ms_ssim(a: Tensor, b: Tensor) -> Similarity:
    """Similarity of images [N, C, H, W] in [0, 255], of any dtype, computed in float64; the mean over channels.

    A scale's structure term below 0 counts as 0. Raises ValueError where shapes differ or a side is below 8 pixels.
    """
    if a.shape != b.shape or a.ndim != 4 or min(a.shape[2:]) < COARSEST_SIDE:
        raise ValueError(
            f"images of shapes {list(a.shape)} and {list(b.shape)} have no MS-SSIM; give two of one shape [N, C, H, W] with "
            f"sides of at least {COARSEST_SIDE} pixels"
        )
    a, b = a.double(), b.double()
    scales = min(len(WEIGHTS), (min(a.shape[2:]) // COARSEST_SIDE).bit_length())
    total = 1.0 if scales == len(WEIGHTS) else sum(WEIGHTS[:scales])
    product, windows = torch.ones(a.shape[:2], dtype=a.dtype, device=a.device), []
    for scale, weight in enumerate(WEIGHTS[:scales]):
        windows.append(min(WINDOW, *a.shape[2:]))
        luminance, structure = _terms(a, b, windows[-1])
        term = structure if scale < scales - 1 else luminance * structure
        product *= term.flatten(2).mean(2).clamp(min=0) ** (weight / total)
        if scale < scales - 1:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return Similarity(product.mean(1), scales, tuple(windows))


def _terms(a: Tensor, b: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure (SSIM, equations 6 and 13), at every place of the window."""
    mean_a, mean_b = _blur(a, window), _blur(b, window)
    variance_a, variance_b = _blur(a * a, window) - mean_a**2, _blur(b * b, window) - mean_b**2
    covariance = _blur(a * b, window) - mean_a * mean_b
    c1, c2 = STABILISERS
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_a + variance_b + c2)


def _blur(images: Tensor, window: int) -> Tensor:
    """Means under a Gaussian window, where it fits within the images [N, C, H, W]."""
    places = torch.arange(window, dtype=images.dtype, device=images.device) - (window - 1) / 2
    gaussian = torch.exp(-0.5 * (places * WINDOW / (DEVIATION * window)) ** 2)
    row = (gaussian / gaussian.sum()).expand(images.shape[1], 1, 1, -1)
    return F.conv2d(F.conv2d(images, row, groups=images.shape[1]), row.transpose(2, 3), groups=images.shape[1])
