"""Inception score, plain and conditional, from a classifier's probabilities (Salimans et al. 2016; Huang et al. 2018, MUNIT).

IS = exp E_x KL(p(y|x) || p(y)) (arXiv:1606.03498, section 4). CIS = E_a E_x KL(p(y|x) || p(y|a)) over the outputs x of each
input a (arXiv:1804.04732, section 5.2), in nats and without the exponential, as MUNIT's tables give both. The classifier is
any callable, uint8 images [N, H, W, 3] -> (features [N, D], logits [N, K]); its probabilities come here.
"""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from alae_core.metrics.estimate import Estimate, mean_estimate


class LabelStatistics:
    """What the divergence of labels needs: the sums of p(y|x) and of its entropy, in float64; mergeable."""

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise ValueError(f"classes={classes} tell nothing apart; the classifier needs at least 2")
        self.count = 0
        self.sum = torch.zeros(classes, dtype=torch.float64)
        self.entropy = 0.0
        """Sum of the entropies, in nats."""

    def update(self, probabilities: Tensor) -> None:
        """Add images' probabilities, float [N, K]; raises ValueError where a row is no distribution over the classes."""
        if probabilities.ndim != 2 or probabilities.shape[1] != len(self.sum):
            raise ValueError(f"probabilities have shape {list(probabilities.shape)}, expected [N, {len(self.sum)}]")
        p = probabilities.detach().cpu().double()
        # Negated, so that NaN is refused too.
        if not ((p >= 0).all() and ((p.sum(1) - 1).abs() < 1e-3).all()):
            raise ValueError(
                "probabilities must be at least 0 and sum to 1 for every image; apply a softmax to the logits"
            )
        self.count += len(p)
        self.sum += p.sum(0)
        self.entropy += float(torch.special.entr(p).sum())

    def merge(self, other: "LabelStatistics") -> None:
        """Add everything `other` has seen; `other` is left as it was."""
        if len(other.sum) != len(self.sum):
            raise ValueError(f"statistics of {len(self.sum)} and of {len(other.sum)} classes cannot be merged")
        self.count += other.count
        self.sum += other.sum
        self.entropy += other.entropy

    @property
    def divergence(self) -> float:
        """E_x KL(p(y|x) || p(y)) = H(E p) - E H(p), in nats: from 0 to ln K; raises ValueError before the first image."""
        if not self.count:
            raise ValueError("there are no probabilities to take a score of; add at least one image")
        return max(float(torch.special.entr(self.sum / self.count).sum()) - self.entropy / self.count, 0.0)


def inception_score(splits: Sequence[LabelStatistics]) -> Estimate:
    """Mean over the splits of exp(divergence), from 1 to K; the error is their spread over the root of their number.

    The field takes ten splits of 5,000 images. A split's score is biased by its size: compare equal sizes only. Raises
    ValueError without splits.
    """
    scores = [math.exp(split.divergence) for split in splits]
    if not scores:
        raise ValueError("there are no splits to take a score of; give at least one")
    error = statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None
    return Estimate(statistics.fmean(scores), error, sum(split.count for split in splits))


def conditional_inception_score(inputs: Sequence[LabelStatistics]) -> Estimate:
    """Mean over the inputs of the divergence among each one's outputs, in nats: 0 for a deterministic model.

    Inputs are independent, so the error is that of a mean. Raises ValueError without inputs.
    """
    return mean_estimate(torch.tensor([outputs.divergence for outputs in inputs], dtype=torch.float64))
