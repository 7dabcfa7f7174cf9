"""Kernel distance: the unbiased squared MMD under a cubic polynomial kernel (KID; Binkowski et al. 2018, arXiv:1801.01401).

In float64: the small difference of large sums loses its digits in float32. Sets of features are whole and in the order of
their images (`features.in_order`), so that nothing depends on how many processes computed them.
"""

import math
import statistics

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, jackknife_error
from alae_core.metrics.neighbours import checked
from alae_core.noise import generator

CHUNK_NUMBERS = 2**24


def kernel_sums(x: Tensor, y: Tensor) -> Tensor:
    """Sum over all of `y` [m, D] of k(x_i, y_j) = (x_i . y_j / D + 1)^3: float64 [n] (section 4)."""
    dimension = x.shape[1]
    parts = x.split(max(CHUNK_NUMBERS // len(y), 1))
    return torch.cat([(part @ y.T).div_(dimension).add_(1.0).pow_(3).sum(1) for part in parts])


def mmd2(real: Tensor, generated: Tensor) -> float:
    """The unbiased estimate of MMD^2 from all pairs of features [m, D] and [n, D] (Gretton et al. 2012, eq. 3).

    It may be a little below zero where the sets are alike. Raises ValueError below two images on a side.
    """
    real, generated = _at_least(2, real, generated)
    return float(_within(real) + _within(generated) - 2 * kernel_sums(generated, real).mean() / len(real))


def kernel_distance(real: Tensor, generated: Tensor) -> Estimate:
    """`mmd2` with the standard error of the delete-one jackknife over the generated images, the real ones held fixed.

    The jackknife is exact and free: leaving image i out takes known row sums off. Where both sets follow one distribution
    it errs towards too large (Efron and Stein 1981). Costs 2 D (m^2 + n^2 + m n) operations. Raises ValueError below two
    real or three generated images.
    """
    real, generated = _at_least(2, real, generated)
    n, m = len(generated), len(real)
    if n < 3:
        raise ValueError(f"{n} generated images have no kernel distance with an error; give at least 3")
    own = kernel_sums(generated, generated) - _diagonal(generated)
    across = kernel_sums(generated, real)
    constant = _within(real)
    value = own.sum() / (n * (n - 1)) - 2 * across.sum() / (n * m) + constant
    without = (own.sum() - 2 * own) / ((n - 1) * (n - 2)) - 2 * (across.sum() - across) / ((n - 1) * m) + constant
    return Estimate(float(value), jackknife_error(without), n)


def kernel_distance_of_subsets(
    real: Tensor, generated: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> Estimate:
    """The mean of `mmd2` over random subsets of both sides, as the field reports KID; prefer `kernel_distance`.

    Subsets are drawn without replacement and named by `seed`. Each is unbiased for the estimate from all pairs, so the
    error is that estimate's and the draw's own, added in squares. Raises ValueError where a side is smaller than a subset.
    """
    real, generated = _at_least(subset_size, real, generated)
    if subsets < 1 or subset_size < 2:
        raise ValueError(
            f"subsets={subsets} of subset_size={subset_size} images give no distance; take 1 or more of 2 or more"
        )

    def subset(features: Tensor, number: int, side: str) -> Tensor:
        named = generator("cpu", seed, "kernel subset", number, side)
        return features[torch.randperm(len(features), generator=named)[:subset_size].to(features.device)]

    drawn = [mmd2(subset(real, k, "real"), subset(generated, k, "generated")) for k in range(subsets)]
    spread = statistics.stdev(drawn) / math.sqrt(subsets) if subsets > 1 else 0.0
    error = kernel_distance(real, generated).standard_error or 0.0
    return Estimate(statistics.fmean(drawn), math.hypot(error, spread), len(generated))


def _within(x: Tensor) -> Tensor:
    """Mean of k over all pairs of different rows."""
    return (kernel_sums(x, x) - _diagonal(x)).sum() / (len(x) * (len(x) - 1))


def _diagonal(x: Tensor) -> Tensor:
    return (x.square().sum(1) / x.shape[1] + 1.0) ** 3


def _at_least(count: int, real: Tensor, generated: Tensor) -> tuple[Tensor, Tensor]:
    real, generated = checked(real, generated)
    if min(len(real), len(generated)) < count:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated images are too few for a kernel distance over {count} of each; "
            "add images or make the subsets smaller"
        )
    return real, generated
