"""A number with its error bar, and whether two such numbers differ by more than noise.

Wherever a metric compares generated images with real ones, the error bar is over the generated images: the real ones are
held fixed, as they are when two models are compared on one data set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """What a metric gave."""

    value: float
    standard_error: float | None
    """One standard deviation of `value` over new draws of the images; None where it cannot be told."""
    count: int
    """Independent draws behind the value: images, pairs, paths or inputs."""
    notes: tuple[str, ...] = ()
    """What a reader must know before comparing the value, a clause each."""

    def __str__(self) -> str:
        """As `12.3 ± 0.4`: the error to two digits, the value to as many places."""
        if self.standard_error is None or not math.isfinite(self.standard_error):
            return f"{self.value:.4g}"
        if self.standard_error == 0:
            return f"{self.value:.4g} ± 0"
        places = max(1 - math.floor(math.log10(self.standard_error)), 0)
        return f"{self.value:.{places}f} ± {self.standard_error:.{places}f}"


@dataclass(frozen=True)
class Difference:
    """What `differ` found; true in a condition where the two estimates differ by more than noise."""

    significant: bool
    difference: float
    """The first value less the second."""
    standard_error: float
    """Of the difference."""
    sentence: str
    """The finding, for people."""

    def __bool__(self) -> bool:
        return self.significant


def differ(a: Estimate, b: Estimate, *, z: float = 2.0) -> Difference:
    """Whether two independent estimates of one metric differ by more than `z` combined standard errors, two-sided.

    Both must follow one protocol: a bias that depends on the number of images is not noise. Raises ValueError where an
    estimate has no standard error.
    """
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
    """Mean of independent values [n] and its standard error s / sqrt(n); without an error for a single value.

    Raises ValueError without values or where one is not finite.
    """
    values = values.detach().double().flatten()
    if not len(values):
        raise ValueError("there are no values to take the mean of; give at least one")
    if not torch.isfinite(values).all():
        raise ValueError(f"{int((~torch.isfinite(values)).sum())} of {len(values)} values are not finite")
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(float(values.mean()), error, len(values), notes)


def share_estimate(hits: Tensor, notes: tuple[str, ...] = ()) -> Estimate:
    """Share of true among independent `hits`, bool [n], with its binomial standard error sqrt(q (1 - q) / n).

    q = (hits + 1) / (n + 2), Laplace's share, so that all or none of a few hits is no certainty. Raises ValueError without
    any.
    """
    share = mean_estimate(hits, notes)
    expected = (share.value * share.count + 1) / (share.count + 2)
    return Estimate(share.value, math.sqrt(expected * (1 - expected) / share.count), share.count, notes)


class RunningMean:
    """Mean and standard error of values that arrive in shards: any order and any sizes give the same to rounding.

    Merges by the pairwise formula of Chan, Golub and LeVeque (1983), which loses nothing to a common offset.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        """Sum of the squared deviations from the mean."""

    def update(self, values: Tensor) -> None:
        """Add values, float of any shape on any device; raises ValueError where one is not finite."""
        values = values.detach().double().flatten()
        if len(values):
            added = RunningMean()
            added.mean = mean_estimate(values).value
            added.count, added.squares = len(values), float((values - added.mean).square().sum())
            self.merge(added)

    def merge(self, other: "RunningMean") -> None:
        """Add everything `other` has seen; `other` is left as it was."""
        if not other.count:
            return
        count, shift = self.count + other.count, other.mean - self.mean
        self.mean += shift * other.count / count
        self.squares += other.squares + shift**2 * self.count * other.count / count
        self.count = count

    def estimate(self, notes: tuple[str, ...] = ()) -> Estimate:
        """As `mean_estimate` of all values; raises ValueError before the first."""
        if not self.count:
            raise ValueError("there are no values to take the mean of; give at least one")
        error = math.sqrt(self.squares / (self.count - 1) / self.count) if self.count > 1 else None
        return Estimate(self.mean, error, self.count, notes)


def jackknife_error(leave_one_out: Sequence[float] | Tensor) -> float:
    """Standard error from the values with each of B equal parts left out (Efron and Stein 1981, eq. 1.4).

    The square is (B - 1) / B times the sum of the squared deviations from their mean. Its own relative error is about
    1 / sqrt(2 (B - 1)): 24 % with ten parts. Raises ValueError below two parts.
    """
    values = torch.as_tensor(leave_one_out, dtype=torch.float64)
    if len(values) < 2:
        raise ValueError(f"{len(values)} parts have no spread; split the images into at least 2")
    return math.sqrt((len(values) - 1) / len(values) * float((values - values.mean()).square().sum()))
