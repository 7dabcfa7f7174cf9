"""Linear separability: how well a plane in the codes' space tells an attribute (StyleGAN, section 4.2).

The planes, such as linear SVMs, and the attributes are the caller's. StyleGAN takes 200,000 images, keeps for each of 40
attributes the 100,000 whose label is surest, and fits LinearSVC to their z or w.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from alae_core.metrics.estimate import Estimate


def conditional_entropy(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """H(label | prediction) in bits, of two arrays of classes [n] counted from 0; 0 if the one tells the other.

    Raises ValueError unless both have the same length, of at least 1.
    """
    return float(surprisals(predictions, labels).mean())


def surprisals(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """-log2 p(label | prediction) of each image [n], whose mean is the conditional entropy in bits; errors as above."""
    if predictions.shape != labels.shape or not len(labels):
        raise ValueError(f"{len(predictions)} predictions came with {len(labels)} labels; give one for each")
    joint = np.zeros((int(predictions.max()) + 1, int(labels.max()) + 1))
    np.add.at(joint, (predictions, labels), 1.0)
    return np.log2(joint.sum(1)[predictions] / joint[predictions, labels])


def separability(entropies: Iterable[float]) -> float:
    """2 to the sum of the attributes' conditional entropies in bits: 1 if all are separated perfectly."""
    return float(2.0 ** sum(entropies))


def separability_estimate(
    attributes: Sequence[tuple[NDArray[np.integer], NDArray[np.float64]]], count: int
) -> Estimate:
    """`separability` of attributes given as (rows kept, their surprisals) of `count` images, with its standard error.

    By the delta method: the error of the summed entropies, times the score and ln 2. One image speaks on many attributes,
    so its shares of their means are summed before they are squared. The planes are taken as given.
    """
    shares = np.zeros(count)
    total = 0.0
    for rows, bits in attributes:
        total += float(bits.mean())
        shares[rows] += (bits - bits.mean()) / len(bits)
    score = separability([total])
    return Estimate(score, score * math.log(2) * math.sqrt(float(np.square(shares).sum())), count)


def most_confident(probabilities: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Which `count` samples a binary classifier's probabilities [n] are surest of, surest first."""
    return np.argsort(-np.abs(probabilities - 0.5), kind="stable")[:count]
