"""Reconstruction errors of images, decoder(encoder(x)), and of codes, encoder(decoder(w)).

Errors are per image, so `estimate.RunningMean` gives the mean and standard error of any shards. LPIPS of reconstructions is
`lpips.PerceptualDistance`, used in the same way.
"""

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate


# 1/(C H W) ||x - x_r||_1
def l1(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean absolute difference [N] of images [N, C, H, W], in their own units."""
    return _difference(images, reconstructions).abs().mean(1)


# 1/(C H W) ||x - x_r||^2
def l2(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean squared difference [N] of images [N, C, H, W], in the square of their units."""
    return _difference(images, reconstructions).square().mean(1)


# ||F(z) - E(G(F(z)))||^2 (ALAE, arXiv:2004.04467, section 4)
def reciprocity(codes: Tensor, recovered: Tensor) -> Tensor:
    """Squared difference [N] of codes [N, D], summed over D."""
    return _difference(codes, recovered).square().sum(1)


def unexplained(codes: Tensor, recovered: Tensor) -> Estimate:
    """Share of the variance of codes [N, D], N > 1, that the recovered codes do not explain.

    It is 0 if all codes are recovered, and 1 if their mean is recovered instead. W is learned and has no fixed scale, so only
    this share compares two models. Raises ValueError if all codes are equal.
    """
    # R = sum ||w - w'||^2 / sum ||w - mean w||^2; its error is the ratio estimator's (Cochran 1977, eq. 6.9)
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
