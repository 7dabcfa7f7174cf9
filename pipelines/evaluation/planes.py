"""Linear SVMs that predict binary attributes from codes, for separability and for latent directions."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.separability import most_confident, separability_estimate, surprisals

PENALTY = 1.0
ENOUGH = 10
"""Images per code dimension below which a plane fits random labels."""

Codes = NDArray[np.floating]


def fitted(codes: Codes, labels: NDArray[np.bool_]) -> LinearSVC:
    """Fit a plane to codes [n, D] with labels [n] of both values."""
    return LinearSVC(C=PENALTY, dual=False).fit(codes, labels)


def separability(codes: Codes, probabilities: NDArray[np.float64], accuracies: Mapping[str, float | None]) -> Estimate:
    """Linear separability of codes [n, D] by attributes with predicted probabilities [n, K] (StyleGAN, section 4.2).

    For each attribute, a plane is fitted to the codes of the more confident half of the images; the conditional entropy of
    the label given the side of the plane counts. It is 0 if all these images have the same label. `accuracies` are those of
    the classifier, in the order of the columns.
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
    notes = [f"conditional entropies in bits: {', '.join(f'{name} {value:.3g}' for name, value in bits.items())}"]
    notes.append(_told(accuracies))
    if constant:
        notes.append(f"all confident images have the same value of {', '.join(constant)}, which counts as 0 bits")
    if kept < ENOUGH * codes.shape[1]:
        notes.append(
            f"{kept:,} images for codes of {codes.shape[1]} dimensions are few: planes fit random labels, so the value is too low"
        )
    return Estimate(estimate.value, estimate.standard_error, estimate.count, tuple(notes))


def _told(accuracies: Mapping[str, float | None]) -> str:
    ranked = sorted((accuracy, name) for name, accuracy in accuracies.items() if accuracy is not None)
    if not ranked:
        return f"labelled by a classifier of {len(accuracies)} attributes of unknown accuracy"
    (low, worst), (high, best) = ranked[0], ranked[-1]
    return (
        f"labelled by a classifier of {len(accuracies)} attributes, correct for {100 * low:.1f} % ({worst}) to "
        f"{100 * high:.1f} % ({best}) of held-out images"
    )
