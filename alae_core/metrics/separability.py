"""Linear separability: how well a plane in the space of codes predicts an attribute (StyleGAN, section 4.2).

The caller provides the planes, such as linear SVMs, and the attributes. StyleGAN uses 200,000 images, keeps for each of 40
attributes the 100,000 with the most confident labels, and fits LinearSVC to their z or w.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from alae_core.metrics.estimate import Estimate


def conditional_entropy(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Conditional entropy H(label | prediction) in bits of two arrays of classes [n], which count from 0.

    It is 0 if the prediction determines the label. Raises ValueError unless both have the same length of at least 1.
    """
    # H(Y | X) = -E log2 p(y | x)
    return float(surprisals(predictions, labels).mean())


def surprisals(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Surprisal -log2 p(label | prediction) of each image [n]; the mean is the conditional entropy. Raises as above."""
    if predictions.shape != labels.shape or not len(labels):
        raise ValueError(f"{len(predictions)} predictions came with {len(labels)} labels; give one for each")
    joint = np.zeros((int(predictions.max()) + 1, int(labels.max()) + 1))
    np.add.at(joint, (predictions, labels), 1.0)
    return np.log2(joint.sum(1)[predictions] / joint[predictions, labels])


def separability(entropies: Iterable[float]) -> float:
    """Separability score from the attributes' conditional entropies in bits; 1 if all are separated perfectly."""
    # 2^(sum_i H(Y_i | X_i)), which is StyleGAN's exp(sum_i H(Y_i | X_i)) in nats (section 4.2)
    return float(2.0 ** sum(entropies))


def separability_estimate(
    attributes: Sequence[tuple[NDArray[np.integer], NDArray[np.float64]]], count: int
) -> Estimate:
    """Estimate of `separability` from attributes given as (rows kept, their surprisals), out of `count` images.

    The standard error is that of the summed entropies times the score and ln 2 (delta method). An image contributes to many
    attributes, so its contributions are summed before they are squared. The planes are considered fixed.
    """
    shares = np.zeros(count)
    total = 0.0
    for rows, bits in attributes:
        total += float(bits.mean())
        shares[rows] += (bits - bits.mean()) / len(bits)
    score = separability([total])
    return Estimate(score, score * math.log(2) * math.sqrt(float(np.square(shares).sum())), count)


def most_confident(probabilities: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Indices of the `count` samples with the most confident probabilities [n] of a binary classifier, best first."""
    return np.argsort(-np.abs(probabilities - 0.5), kind="stable")[:count]
