"""Fréchet distance between two sets of features (FID; Heusel et al. 2017, arXiv:1706.08500), in float64.

The statistics merge exactly, so shards, batches and ranks may have any size and no set of features is held in memory.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_STATE_KEYS = ("count", "pivot", "sum", "outer")


class FeatureStatistics:
    """Mean and covariance of feature vectors, accumulated over batches.

    Moments are taken about a pivot, the mean of the first batch, because raw second moments of features far from the origin
    lose the covariance to cancellation.
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
        """Add features, float [N, D] on any device; raises ValueError for another shape or a value that is not finite."""
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
        """Add the features of `other`, which does not change; raises ValueError if the dimensions differ."""
        if other.dimension != self.dimension:
            raise ValueError(_dimensions_differ(self, other))
        if other.count == 0:
            return
        if self.count == 0:
            self.pivot = other.pivot.clone()
        self._add(other, 1)

    def without(self, part: "FeatureStatistics") -> "FeatureStatistics":
        """Statistics of these features without those of `part`, which must be among them."""
        rest = FeatureStatistics.from_state_dict(self.state_dict())
        rest._add(part, -1)
        return rest

    @property
    def mean(self) -> Tensor:
        """Mean feature, float64 [D]; raises ValueError if there are no images."""
        self._require(1)
        return self.pivot + self.sum / self.count

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance, float64 [D, D]; raises ValueError if there are fewer than two images."""
        self._require(2)
        return (self.outer - torch.outer(self.sum, self.sum) / self.count) / (self.count - 1)

    def state_dict(self) -> dict[str, Tensor]:
        """The whole state as tensors, which safetensors can store."""
        return {"count": torch.tensor(self.count), "pivot": self.pivot, "sum": self.sum, "outer": self.outer}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "FeatureStatistics":
        """Restore the result of `state_dict`; raises ValueError for other keys or shapes."""
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
        # Moments about another pivot p': sum' = sum + n d, outer' = outer + s d^T + d s^T + n d d^T, with d = p - p'.
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
    """Fréchet distance between two sets of features, symmetric and 0 for equal statistics.

    With fewer images than dimensions the value is exact for these statistics but, as an estimate, biased upwards
    (`bias_notes`). Raises ValueError if the dimensions differ or a side has fewer than two images.
    """
    # FID = ||mu_a - mu_b||^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017, eq. 6)
    if a.dimension != b.dimension:
        raise ValueError(_dimensions_differ(a, b))
    covariance_a, covariance_b = a.covariance, b.covariance
    # tr (A B)^(1/2) is the nuclear norm of A^(1/2) B^(1/2). Its singular values have a relative error of 1e-16; the square
    # roots of the eigenvalues of A B would have 1e-8.
    nuclear = torch.linalg.svdvals(covariance_root(covariance_a).T @ covariance_root(covariance_b)).sum()
    distance = (a.mean - b.mean).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * nuclear
    return max(float(distance), 0.0)


def bias_notes(a: FeatureStatistics, b: FeatureStatistics) -> tuple[str, ...]:
    """Caveats, one for each side with fewer images than features, whose singular covariance biases the distance."""
    return tuple(
        f"{side.count:,} images are fewer than the {side.dimension:,} features, which biases the distance upwards"
        for side in (a, b)
        if side.count < side.dimension
    )


def covariance_root(covariance: Tensor) -> Tensor:
    """R [D, rank] with R R^T = covariance.

    Eigenvalues within rounding of 0 are dropped, because their square roots would not be small.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def _dimensions_differ(a: FeatureStatistics, b: FeatureStatistics) -> str:
    return (
        f"feature dimensions {a.dimension} and {b.dimension} differ; take both sets of features with the same extractor"
    )
