"""Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003), which ProGAN and IntroVAE use to measure diversity.

The window is a Gaussian of 11 pixels and standard deviation 1.5. If a scale's side is smaller, the window has that side and a
proportional standard deviation, as in ProGAN's script. Images are halved while 8 pixels remain, which gives the paper's five
scales from 128 px on, four at 64 px and three at 32 px; the weights of fewer scales are divided by their sum. Libraries with a
fixed window give the same values from 176 px on. Sides that are odd at a scale lose their last row or column there.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales from the finest to the coarsest (section 3.2)."""
WINDOW = 11
DEVIATION = 1.5
COARSEST_SIDE = 8
STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
"""C1 and C2 of SSIM, for values in [0, 255]."""


class Similarity(NamedTuple):
    """MS-SSIM values [N], 1 for equal images; only values of the same number of scales and the same windows compare."""

    values: Tensor
    scales: int
    windows: tuple[int, ...]
    """Side of the window at each scale, in pixels, from the finest scale on."""


def unfit(side: int, crop: str) -> str:
    """Why images of `side` px have no MS-SSIM; "" where they have one."""
    return "" if side >= COARSEST_SIDE else f"it needs images of {COARSEST_SIDE} px or more, and they have {side} px"


def ms_ssim(a: Tensor, b: Tensor) -> Similarity:
    """Similarity of images [N, C, H, W] in [0, 255] of any dtype, computed in float64 and averaged over channels.

    A negative term of a scale counts as 0. Raises ValueError if shapes differ or a side is below 8 pixels.
    """
    # MS-SSIM = (mean l_M c_M s_M)^w_M prod_(j < M) (mean c_j s_j)^w_j, M the coarsest scale (Wang et al. 2003, eq. 7)
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
    """Luminance term, and the product of contrast and structure terms, at every position of the window (SSIM)."""
    # l = (2 mu_a mu_b + C1) / (mu_a^2 + mu_b^2 + C1), c s = (2 cov + C2) / (var_a + var_b + C2) (SSIM, eqs. 6 and 13)
    mean_a, mean_b = _blur(a, window), _blur(b, window)
    variance_a, variance_b = _blur(a * a, window) - mean_a**2, _blur(b * b, window) - mean_b**2
    covariance = _blur(a * b, window) - mean_a * mean_b
    c1, c2 = STABILISERS
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_a + variance_b + c2)


def _blur(images: Tensor, window: int) -> Tensor:
    """Means of images [N, C, H, W] under a Gaussian window, at the positions at which it fits."""
    places = torch.arange(window, dtype=images.dtype, device=images.device) - (window - 1) / 2
    gaussian = torch.exp(-0.5 * (places * WINDOW / (DEVIATION * window)) ** 2)
    row = (gaussian / gaussian.sum()).expand(images.shape[1], 1, 1, -1)
    return F.conv2d(F.conv2d(images, row, groups=images.shape[1]), row.transpose(2, 3), groups=images.shape[1])
