"""Kernel distance: the unbiased squared MMD under a cubic polynomial kernel (KID; Binkowski et al. 2018, arXiv:1801.01401).

In float64, because the small difference of large sums would lose its digits in float32. Sets of features are complete and in
the order of their images (`features.in_order`), so the result does not depend on how many processes computed them.
"""

import math
import statistics

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, jackknife_error
from alae_core.metrics.neighbours import checked
from alae_core.noise import generator

CHUNK_NUMBERS = 2**24
"""Kernel values in memory at once: 128 MiB."""


# k(x, y) = (x . y / D + 1)^3 (Binkowski et al. 2018, section 4)
def kernel_sums(x: Tensor, y: Tensor) -> Tensor:
    """Sum over j of k(x_i, y_j) for each row of `x` [n, D] and all rows of `y` [m, D]: float64 [n]."""
    dimension = x.shape[1]
    parts = x.split(max(CHUNK_NUMBERS // len(y), 1))
    return torch.cat([(part @ y.T).div_(dimension).add_(1.0).pow_(3).sum(1) for part in parts])


# MMD^2 = E_(i != j) k(x_i, x_j) + E_(i != j) k(y_i, y_j) - 2 E_(i, j) k(x_i, y_j) (Gretton et al. 2012, eq. 3)
def mmd2(real: Tensor, generated: Tensor) -> float:
    """Unbiased estimate of the squared MMD from all pairs of features [m, D] and [n, D].

    It may be slightly negative for similar sets. Raises ValueError if a side has fewer than two images.
    """
    real, generated = _at_least(2, real, generated)
    return float(_within(real) + _within(generated) - 2 * kernel_sums(generated, real).mean() / len(real))


def kernel_distance(real: Tensor, generated: Tensor) -> Estimate:
    """Estimate of `mmd2` with the standard error of the delete-one jackknife over generated images, with fixed real ones.

    The jackknife is exact and adds no cost, because leaving image i out subtracts known row sums. If both sets have the same
    distribution, the error tends to be too large (Efron and Stein 1981). Costs 2 D (m^2 + n^2 + m n) operations. Raises
    ValueError for fewer than two real or three generated images.
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
    """Mean of `mmd2` over random subsets of both sides, which is how papers report KID; prefer `kernel_distance`.

    Subsets are drawn without replacement, determined by `seed`. Each is an unbiased estimate of the value from all pairs, so
    the squared standard error is the sum of that value's and the draw's. Raises ValueError if a side is smaller than a
    subset.
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
    """Mean of k over all pairs of different rows of `x`."""
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
