"""Inception score, plain and conditional, from a classifier's probabilities (Salimans et al. 2016; Huang et al. 2018, MUNIT).

MUNIT's tables report both scores in nats, without the exponential. Probabilities come from any classifier of uint8 images
[N, H, W, 3] that returns features [N, D] and logits [N, K].
"""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, mean_estimate


class LabelStatistics:
    """Sums over images of p(y|x) and of its entropy, in float64, which give the divergence of labels; mergeable."""

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise ValueError(f"classes={classes} leave nothing to distinguish; the classifier needs at least 2")
        self.count = 0
        self.sum = torch.zeros(classes, dtype=torch.float64)
        self.entropy = 0.0
        """Sum of the entropies, in nats."""

    def update(self, probabilities: Tensor) -> None:
        """Add probabilities of images, float [N, K]; raises ValueError if a row is no distribution over the classes."""
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.sum):
            raise ValueError(f"probabilities have shape {list(probabilities.shape)}, expected [N, {len(self.sum)}]")
        p = probabilities.detach().cpu().double()
        # Negated so that NaN raises too.
        if not ((p >= 0).all() and ((p.sum(1) - 1).abs() < 1e-3).all()):
            raise ValueError(
                "probabilities must be at least 0 and sum to 1 for every image; apply a softmax to the logits"
            )
        self.count += len(p)
        self.sum += p.sum(0)
        self.entropy += float(torch.special.entr(p).sum())

    def merge(self, other: "LabelStatistics") -> None:
        """Add the images of `other`, which does not change; raises ValueError if the classes differ in number."""
        if len(other.sum) != len(self.sum):
            raise ValueError(f"statistics of {len(self.sum)} and of {len(other.sum)} classes cannot be merged")
        self.count += other.count
        self.sum += other.sum
        self.entropy += other.entropy

    @property
    def divergence(self) -> float:
        """Mean divergence of p(y|x) from its mean, in nats, from 0 to ln K; raises ValueError if there are no images."""
        # E_x KL(p(y|x) || p(y)) = H(E_x p(y|x)) - E_x H(p(y|x))
        if not self.count:
            raise ValueError("there are no probabilities to take a score of; add at least one image")
        return max(float(torch.special.entr(self.sum / self.count).sum()) - self.entropy / self.count, 0.0)


def inception_score(splits: Sequence[LabelStatistics]) -> Estimate:
    """Inception score, the mean over splits, from 1 to K, with the standard error of that mean.

    Papers use ten splits of 5,000 images. The score of a split is biased by its size, so compare equal sizes only. Raises
    ValueError if there are no splits.
    """
    # IS = exp E_x KL(p(y|x) || p(y)) (arXiv:1606.03498, section 4)
    scores = [math.exp(split.divergence) for split in splits]
    if not scores:
        raise ValueError("there are no splits to take a score of; give at least one")
    error = statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
    return Estimate(statistics.fmean(scores), error, sum(split.count for split in splits))


def conditional_inception_score(inputs: Sequence[LabelStatistics]) -> Estimate:
    """Conditional inception score, the mean over inputs of the divergence of each input's outputs, in nats.

    It is 0 for a deterministic model. Inputs are independent, so the standard error is that of a mean. Raises ValueError if
    there are no inputs.
    """
    # CIS = E_a E_x KL(p(y|x) || p(y|a)), x the outputs for input a (arXiv:1804.04732, section 5.2)
    return mean_estimate(torch.tensor([outputs.divergence for outputs in inputs], dtype=torch.float64))
