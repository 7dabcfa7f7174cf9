"""Linear separability: how well a plane in the codes' space tells an attribute (StyleGAN, section 4.2).

The planes, such as linear SVMs, and the attributes are the caller's.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def conditional_entropy(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """H(label | prediction) in bits, of two arrays of classes [n] counted from 0; 0 if the one tells the other.

    Raises ValueError unless both have the same length, of at least 1.
    """
    if predictions.shape != labels.shape or not len(labels):
        raise ValueError(f"{len(predictions)} predictions came with {len(labels)} labels; give one for each")
    joint = np.zeros((int(predictions.max()) + 1, int(labels.max()) + 1))
    np.add.at(joint, (predictions, labels), 1.0 / len(labels))
    known = np.broadcast_to(joint.sum(1, keepdims=True), joint.shape)
    seen = joint > 0
    return float((joint[seen] * np.log2(known[seen] / joint[seen])).sum())


def separability(entropies: Iterable[float]) -> float:
    """2 to the sum of the attributes' conditional entropies in bits: 1 if all are separated perfectly."""
    return float(2.0 ** sum(entropies))


def most_confident(probabilities: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Which `count` samples a binary classifier's probabilities [n] are surest of, surest first."""
    return np.argsort(-np.abs(probabilities - 0.5), kind="stable")[:count]
