"""Estimates with standard errors, and whether two of them differ by more than noise.

If a metric compares generated images with real ones, its standard error is over the generated images only. The real ones are
fixed, as they are when two models are compared on one data set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """Value of a metric with its standard error."""

    value: float
    standard_error: float | None
    """Standard deviation of `value` over new draws of the images; None if it cannot be estimated."""
    count: int
    """Number of independent draws behind the value: images, pairs, paths or inputs."""
    notes: tuple[str, ...] = ()
    """Caveats for comparisons of the value, one clause each."""

    def __str__(self) -> str:
        """Text such as `12.3 ± 0.4`, with two digits of the error and as many decimals of the value."""
        if self.standard_error is None or not math.isfinite(self.standard_error):
            return f"{self.value:.4g}"
        if self.standard_error == 0:
            return f"{self.value:.4g} ± 0"
        places = max(1 - math.floor(math.log10(self.standard_error)), 0)
        return f"{self.value:.{places}f} ± {self.standard_error:.{places}f}"


@dataclass(frozen=True)
class Difference:
    """Result of `differ`; it is true in a condition if the two estimates differ by more than noise."""

    significant: bool
    difference: float
    """The first value minus the second."""
    standard_error: float
    """Standard error of the difference."""
    sentence: str
    """The result in words."""

    def __bool__(self) -> bool:
        return self.significant


def differ(a: Estimate, b: Estimate, *, z: float = 2.0) -> Difference:
    """Whether two independent estimates of one metric differ by more than `z` combined standard errors, two-sided.

    Both must have the same protocol, because a bias that depends on the number of images is not noise. Raises ValueError if
    an estimate has no standard error.
    """
    # |a - b| > z sqrt(se_a^2 + se_b^2)
    if a.standard_error is None or b.standard_error is None:
        raise ValueError(f"{a} and {b} cannot be compared: an estimate has no standard error; measure more images")
    difference = a.value - b.value
    error = math.hypot(a.standard_error, b.standard_error)
    significant = abs(difference) > z * error
    verdict = "more than" if significant else "within"
    sentence = (
        f"{a} and {b} differ by {abs(difference):.3g}, {verdict} the noise of {z:g} standard errors, {z * error:.3g}"
    )
    return Difference(significant, difference, error, sentence)


def mean_estimate(values: Tensor, notes: tuple[str, ...] = ()) -> Estimate:
    """Mean of independent values [n] and its standard error s / sqrt(n), which is None for a single value.

    Raises ValueError if there are no values or one is not finite.
    """
    values = values.detach().double().flatten()
    if not len(values):
        raise ValueError("there are no values to take the mean of; give at least one")
    if not torch.isfinite(values).all():
        raise ValueError(f"{int((~torch.isfinite(values)).sum())} of {len(values)} values are not finite")
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(float(values.mean()), error, len(values), notes)


def share_estimate(hits: Tensor, notes: tuple[str, ...] = ()) -> Estimate:
    """Share of true values among independent `hits`, bool [n], with its binomial standard error sqrt(q (1 - q) / n).

    q = (hits + 1) / (n + 2) is Laplace's estimate, so the error of a few hits that are all true or all false is not 0.
    Raises ValueError if there are no hits.
    """
    share = mean_estimate(hits, notes)
    expected = (share.value * share.count + 1) / (share.count + 2)
    return Estimate(share.value, math.sqrt(expected * (1 - expected) / share.count), share.count, notes)


class RunningMean:
    """Mean and standard error of values that arrive in shards, whose order and sizes matter only by rounding.

    Merges by the pairwise formula of Chan, Golub and LeVeque (1983), which keeps its accuracy under a common offset.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        """Sum of the squared deviations from the mean."""

    def update(self, values: Tensor) -> None:
        """Add float values of any shape on any device; raises ValueError if one is not finite."""
        values = values.detach().double().flatten()
        if len(values):
            added = RunningMean()
            added.mean = mean_estimate(values).value
            added.count, added.squares = len(values), float((values - added.mean).square().sum())
            self.merge(added)

    def merge(self, other: "RunningMean") -> None:
        """Add all values of `other`, which does not change."""
        if not other.count:
            return
        count, shift = self.count + other.count, other.mean - self.mean
        self.mean += shift * other.count / count
        self.squares += other.squares + shift**2 * self.count * other.count / count
        self.count = count

    def estimate(self, notes: tuple[str, ...] = ()) -> Estimate:
        """The `mean_estimate` of all values; raises ValueError if there are none."""
        if not self.count:
            raise ValueError("there are no values to take the mean of; give at least one")
        error = math.sqrt(self.squares / (self.count - 1) / self.count) if self.count > 1 else None
        return Estimate(self.mean, error, self.count, notes)


def jackknife_error(leave_one_out: Sequence[float] | Tensor) -> float:
    """Jackknife standard error, from the values that result when each of B equal parts is left out.

    Its own relative error is about 1 / sqrt(2 (B - 1)), 24 % with ten parts. Raises ValueError if there are fewer than two.
    """
    # se^2 = (B - 1) / B sum_b (v_b - mean v)^2 (Efron and Stein 1981, eq. 1.4)
    values = torch.as_tensor(leave_one_out, dtype=torch.float64)
    if len(values) < 2:
        raise ValueError(f"{len(values)} parts have no spread; split the images into at least 2")
    return math.sqrt((len(values) - 1) / len(values) * float((values - values.mean()).square().sum()))
