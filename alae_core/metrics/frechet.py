"""Fréchet distance between two sets of features (Heusel et al. 2017, arXiv:1706.08500, equation 6), in float64.

The statistics merge exactly, so that shards, batches and ranks may be of any size and no set of features is ever held whole.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_STATE_KEYS = ("count", "pivot", "sum", "outer")


class FeatureStatistics:
    """Mean and covariance of feature vectors, gathered batch by batch.

    Moments are taken about a pivot (the mean of the first batch): raw second moments lose the covariance to cancellation
    as soon as the features lie far from the origin.
    """

    def __init__(self, dimension: int) -> None:
        if dimension < 1:
            raise ValueError(f"dimension={dimension} must be at least 1; give the length of one feature vector")
        self.count = 0
        self.pivot = torch.zeros(dimension, dtype=torch.float64)
        self.sum = torch.zeros(dimension, dtype=torch.float64)
        self.outer = torch.zeros(dimension, dimension, dtype=torch.float64)

    @property
    def dimension(self) -> int:
        """Length of one feature vector."""
        return self.pivot.numel()

    def update(self, features: Tensor) -> None:
        """Add a batch of features, float [N, D] on any device; raises ValueError on another shape or a non-finite value."""
        if features.ndim != 2 or features.shape[1] != self.dimension:
            raise ValueError(f"features have shape {list(features.shape)}, expected [N, {self.dimension}]")
        values = features.detach().cpu().double()
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).any(1).sum())
            raise ValueError(
                f"features of {bad} of {len(values)} images are not finite; check the images they came from"
            )
        if len(values) == 0:
            return
        if self.count == 0:
            self.pivot = values.mean(0)
        centred = values - self.pivot
        self.count += len(values)
        self.sum += centred.sum(0)
        self.outer.addmm_(centred.T, centred)

    def merge(self, other: "FeatureStatistics") -> None:
        """Add everything `other` has seen; `other` is left as it was."""
        if other.dimension != self.dimension:
            raise ValueError(_dimensions_differ(self, other))
        if other.count == 0:
            return
        if self.count == 0:
            self.pivot = other.pivot.clone()
        self._add(other, 1)

    def without(self, part: "FeatureStatistics") -> "FeatureStatistics":
        """New statistics of what `self` has seen less `part`, which it must have seen too."""
        rest = FeatureStatistics.from_state_dict(self.state_dict())
        rest._add(part, -1)
        return rest

    @property
    def mean(self) -> Tensor:
        """Mean feature, float64 [D]; raises ValueError before the first image."""
        self._require(1)
        return self.pivot + self.sum / self.count

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance, float64 [D, D]; raises ValueError below two images."""
        self._require(2)
        return (self.outer - torch.outer(self.sum, self.sum) / self.count) / (self.count - 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on, as tensors (fit for safetensors)."""
        return {"count": torch.tensor(self.count), "pivot": self.pivot, "sum": self.sum, "outer": self.outer}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "FeatureStatistics":
        """Restore what `state_dict` gave; raises ValueError on other keys or shapes."""
        if set(state) != set(_STATE_KEYS):
            raise ValueError(f"feature statistics have keys {sorted(state)}, expected {sorted(_STATE_KEYS)}")
        statistics = cls(state["pivot"].numel())
        if state["outer"].shape != statistics.outer.shape or state["sum"].shape != statistics.sum.shape:
            raise ValueError(f"feature statistics of dimension {statistics.dimension} have sums of another shape")
        statistics.count = int(state["count"])
        # Copied: a later update must not write into the caller's tensors.
        statistics.pivot, statistics.sum, statistics.outer = (
            state[key].to("cpu", torch.float64, copy=True) for key in ("pivot", "sum", "outer")
        )
        return statistics

    def _add(self, other: "FeatureStatistics", sign: int) -> None:
        # About another pivot p': sum' = sum + n d and outer' = outer + s d^T + d s^T + n d d^T, with d = p - p'.
        shift = other.pivot - self.pivot
        cross = torch.outer(other.sum, shift)
        self.count += sign * other.count
        self.sum += sign * (other.sum + other.count * shift)
        self.outer += sign * (other.outer + cross + cross.T + other.count * torch.outer(shift, shift))

    def _require(self, count: int) -> None:
        if self.count < count:
            raise ValueError(
                f"feature statistics hold {self.count} images, at least {count} are needed; add more images"
            )


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)): 0 for equal statistics, and symmetric.

    Raises ValueError when the dimensions differ or either side has fewer than two images. With fewer images than
    dimensions the value is exact for these statistics, but as an estimate it is biased upwards (`bias_notes`).
    """
    if a.dimension != b.dimension:
        raise ValueError(_dimensions_differ(a, b))
    covariance_a, covariance_b = a.covariance, b.covariance
    # tr (A B)^(1/2) is the nuclear norm of A^(1/2) B^(1/2). Taking it from singular values, not from the square roots of
    # the eigenvalues of a product, keeps the error at 1e-16 of the scale where those would turn it into 1e-8.
    nuclear = torch.linalg.svdvals(covariance_root(covariance_a).T @ covariance_root(covariance_b)).sum()
    distance = (a.mean - b.mean).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * nuclear
    return max(float(distance), 0.0)


def bias_notes(a: FeatureStatistics, b: FeatureStatistics) -> tuple[str, ...]:
    """A clause for each side with fewer images than features: its covariance lacks rank, which adds to the distance."""
    return tuple(
        f"{side.count:,} images are fewer than the {side.dimension:,} features, which biases the distance upwards"
        for side in (a, b)
        if side.count < side.dimension
    )


def covariance_root(covariance: Tensor) -> Tensor:
    """R [D, rank] with R R^T = covariance; directions below rounding are dropped, as their square roots would not be small."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def _dimensions_differ(a: FeatureStatistics, b: FeatureStatistics) -> str:
    return (
        f"feature dimensions {a.dimension} and {b.dimension} differ; take both sets of features with the same extractor"
    )
