"""Planes in a space of codes that tell binary attributes: linear SVMs, for separability and for directions of editing."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.separability import most_confident, separability_estimate, surprisals

PENALTY = 1.0
ENOUGH = 10
"""Images for each number of a code, below which a plane fits chance."""

Codes = NDArray[np.floating]


def fitted(codes: Codes, labels: NDArray[np.bool_]) -> LinearSVC:
    """The plane between the codes [n, D] of either label; both labels are there."""
    return LinearSVC(C=PENALTY, dual=False).fit(codes, labels)


def separability(codes: Codes, probabilities: NDArray[np.float64], accuracies: Mapping[str, float | None]) -> Estimate:
    """Linear separability of codes [n, D] by the attributes that a classifier finds in their images [n, K].

    For each, the surer half of the images is kept and a plane fitted to their codes; what it leaves of the label's entropy
    counts (StyleGAN, section 4.2). Where all that are kept have one label, nothing is left. `accuracies` are the
    classifier's, by attribute in order.
    """
    kept = len(codes) // 2
    found, bits, constant = [], {}, []
    for name, column in zip(accuracies, probabilities.T, strict=True):
        rows = most_confident(column, kept)
        labels = column[rows] > 0.5
        if labels.all() or not labels.any():
            constant.append(name)
            left = np.zeros(kept)
        else:
            told = fitted(codes[rows], labels).predict(codes[rows])
            left = surprisals(told.astype(np.int64), labels.astype(np.int64))
        found.append((rows, left))
        bits[name] = left.mean()
    estimate = separability_estimate(found, len(codes))
    notes = [f"bits that the planes leave: {', '.join(f'{name} {value:.3g}' for name, value in bits.items())}"]
    notes.append(_told(accuracies))
    if constant:
        notes.append(f"all images that are kept have one value of {', '.join(constant)}, which counts as separated")
    if kept < ENOUGH * codes.shape[1]:
        notes.append(
            f"{kept:,} images are kept for codes of {codes.shape[1]} numbers: planes fit chance, which biases it downwards"
        )
    return Estimate(estimate.value, estimate.standard_error, estimate.count, tuple(notes))


def _told(accuracies: Mapping[str, float | None]) -> str:
    ranked = sorted((accuracy, name) for name, accuracy in accuracies.items() if accuracy is not None)
    if not ranked:
        return f"labelled by a classifier of {len(accuracies)} attributes, whose accuracy is not known"
    (low, worst), (high, best) = ranked[0], ranked[-1]
    return (
        f"labelled by a classifier of {len(accuracies)} attributes, right in {100 * low:.1f} % ({worst}) to "
        f"{100 * high:.1f} % ({best}) of held-out images"
    )
