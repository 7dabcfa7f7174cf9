"""Probes of codes: classification by the nearest neighbour and by a linear SVM (BiGAN, arXiv:1605.09782; ALAE, table 2).

The caller fits the SVM by the protocol below.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, share_estimate
from alae_core.metrics.neighbours import nearest
from alae_core.noise import generator


def nearest_neighbour_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Estimate:
    """Share of `test` [M, D] whose nearest neighbour in `train` [N, D] has the same label; exact Euclidean distances.

    The first of several equally near neighbours decides. Raises ValueError if the lengths of features and labels, or the
    widths of train and test, differ.
    """
    for name, features, labels in (("train", train, train_labels), ("test", test, test_labels)):
        if labels.shape != features.shape[:1]:
            raise ValueError(
                f"{name} features {list(features.shape)} and labels {list(labels.shape)} do not match; give one for each"
            )
    return share_estimate(train_labels[nearest(test, train)] == test_labels)


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """Protocol of a linear SVM whose penalty is never chosen on the images that score it."""

    penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Values of C to try, ascending."""
    validation: float = 0.1
    """Share of the training features on which C is chosen; the final SVM is fitted to all training features."""
    standardise: bool = False
    """Divide each feature by its standard deviation over the training set first; the papers do not."""
    iterations: int = 5000
    seed: int = 0
    """Seed of the split."""

    def __post_init__(self) -> None:
        if not self.penalties or list(self.penalties) != sorted(set(self.penalties)) or self.penalties[0] <= 0:
            raise ValueError(f"penalties={self.penalties} must be ascending and above 0, such as (0.01, 0.1, 1.0)")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation} must be between 0 and 1, such as 0.1")

    def split(self, count: int) -> tuple[Tensor, Tensor]:
        """Rows to fit on and rows to choose C on, out of `count` training features; raises ValueError for fewer than two."""
        if count < 2:
            raise ValueError(f"{count} training features cannot be split; give at least 2")
        held = min(max(round(count * self.validation), 1), count - 1)
        order = torch.randperm(count, generator=generator("cpu", self.seed, "probe split"))
        return order[held:].sort().values, order[:held].sort().values

    def choose(self, accuracies: Mapping[float, float]) -> float:
        """Penalty with the highest accuracy on the rows that choose C; of equal ones the smallest (the widest margin).

        Raises ValueError unless there is one accuracy for each penalty.
        """
        if set(accuracies) != set(self.penalties):
            raise ValueError(f"accuracies came for C={sorted(accuracies)}, expected C={list(self.penalties)}")
        return max(self.penalties, key=lambda penalty: accuracies[penalty])
