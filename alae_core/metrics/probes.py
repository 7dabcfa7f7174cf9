"""Probes of codes: what a nearest neighbour and a plane can name (BiGAN, arXiv:1605.09782; ALAE, table 2).

The neighbour is here; the plane is the caller's linear SVM, fitted by the protocol below.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, share_estimate
from alae_core.metrics.neighbours import nearest
from alae_core.noise import generator


def nearest_neighbour_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Estimate:
    """Share of `test` [M, D] whose nearest vector in `train` [N, D] has its label; exact, Euclidean, in chunks.

    Of several equally near the first decides. Raises ValueError where features and labels do not match in length, or train
    and test in width.
    """
    for name, features, labels in (("train", train, train_labels), ("test", test, test_labels)):
        if labels.shape != features.shape[:1]:
            raise ValueError(
                f"{name} features {list(features.shape)} and labels {list(labels.shape)} do not match; give one for each"
            )
    return share_estimate(train_labels[nearest(test, train)] == test_labels)


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """How a linear SVM is fitted and scored, so that its penalty is never chosen on the images that score it."""

    penalties: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Values of C that are tried, ascending."""
    validation: float = 0.1
    """Share of the training features that choose C; the chosen SVM is then fitted to all of them."""
    standardise: bool = False
    """Divide each feature by its deviation over the training set first; the papers of the family do not."""
    iterations: int = 5000
    seed: int = 0
    """Names the split."""

    def __post_init__(self) -> None:
        if not self.penalties or list(self.penalties) != sorted(set(self.penalties)) or self.penalties[0] <= 0:
            raise ValueError(f"penalties={self.penalties} must be ascending and above 0, such as (0.01, 0.1, 1.0)")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation} must be between 0 and 1, such as 0.1")

    def split(self, count: int) -> tuple[Tensor, Tensor]:
        """Rows to fit on and rows to choose C on, of `count` training features; raises ValueError below two."""
        if count < 2:
            raise ValueError(f"{count} training features cannot be split; give at least 2")
        held = min(max(round(count * self.validation), 1), count - 1)
        order = torch.randperm(count, generator=generator("cpu", self.seed, "probe split"))
        return order[held:].sort().values, order[:held].sort().values

    def choose(self, accuracies: Mapping[float, float]) -> float:
        """The penalty of the highest accuracy on the rows that choose; of several, the smallest (the widest margin).

        Raises ValueError unless there is one accuracy for each penalty.
        """
        if set(accuracies) != set(self.penalties):
            raise ValueError(f"accuracies came for C={sorted(accuracies)}, expected C={list(self.penalties)}")
        return max(self.penalties, key=lambda penalty: accuracies[penalty])
