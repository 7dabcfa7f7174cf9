"""How well what was encoded comes back: images through decoder(encoder(x)), codes through encoder(decoder(w)).

Errors are per image, so that `estimate.RunningMean` turns any shards of them into a mean with its error bar. For LPIPS of
reconstructions take `lpips.PerceptualDistance` in the same way.
"""

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate


def l1(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean absolute difference of [N, C, H, W], in the images' own units: [N] (MUNIT, equation 1)."""
    return _difference(images, reconstructions).abs().mean(1)


def l2(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean squared difference of [N, C, H, W], in the squared units of the images: [N] (IntroVAE's L_AE over C H W)."""
    return _difference(images, reconstructions).square().mean(1)


def reciprocity(codes: Tensor, recovered: Tensor) -> Tensor:
    """|F(z) - E(G(F(z)))|^2 of codes [N, D], summed over dimensions: [N] (ALAE, arXiv:2004.04467, equation 5)."""
    return _difference(codes, recovered).square().sum(1)


def unexplained(codes: Tensor, recovered: Tensor) -> Estimate:
    """Summed reciprocity error over the summed squared deviation of the codes [N, D] from their mean, N > 1.

    0 if every code comes back, 1 if their mean always does. W is learned and has no scale of its own, so only this share
    compares two models. The error is the ratio estimator's (Cochran 1977, equation 6.9). Raises ValueError where all codes
    are equal.
    """
    lost = reciprocity(codes, recovered)
    codes = codes.double()
    spread = (codes - codes.mean(0)).square().sum(1)
    if len(codes) < 2 or not float(spread.sum()) > 0:
        raise ValueError(f"{len(codes)} codes that do not vary have no share of variance to lose; give different codes")
    ratio = lost.sum() / spread.sum()
    error = (lost - ratio * spread).square().sum().div(len(codes) - 1).sqrt() / (spread.mean() * len(codes) ** 0.5)
    return Estimate(float(ratio), float(error), len(codes))


def _difference(a: Tensor, b: Tensor) -> Tensor:
    if a.shape != b.shape or a.ndim < 2 or not len(a):
        raise ValueError(f"shapes {list(a.shape)} and {list(b.shape)} cannot be compared; give each its counterpart")
    return (torch.as_tensor(a).double() - b.double()).flatten(1)
