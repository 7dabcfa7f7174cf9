"""Accuracy of 1-NN and linear-SVM probes on short and long codes (ALAE, table 2; after BiGAN).

The protocol of the official code: features without standardisation, exact Euclidean neighbours, one-vs-rest LinearSVC with
C = 0.02.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from torch import Tensor

from alae_core import images
from alae_core.metrics.estimate import Estimate, share_estimate
from alae_core.metrics.probes import LinearProbe
from alae_core.networks.mlp import MLPEncoder

Features = NDArray[np.floating]
Labels = NDArray[np.integer]

SVM_PENALTY = 0.02
SVM_ITERATIONS = 5000


@dataclass(frozen=True, kw_only=True)
class Codes:
    """Codes of images: `short` float32 [N, latent] is the code, `long` float32 [N, hidden] the layer before it."""

    short: Features
    long: Features


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """Accuracies in [0, 1] on unseen features."""

    nearest_neighbour: float
    linear_svm: float


def encoder_codes(encoder: MLPEncoder, pixels: NDArray[np.uint8], batch_size: int = 500) -> Codes:
    """Codes of images uint8 [N, R, R, C], computed on the encoder's device in batches; raises ValueError without images."""
    if len(pixels) < 1 or batch_size < 1:
        raise ValueError(
            f"{len(pixels)} images in batches of batch_size={batch_size} give no codes; both must be at least 1"
        )
    device = next(encoder.parameters()).device
    short, long = [], []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = images.to_float(torch.from_numpy(pixels[start : start + batch_size]).to(device))
            features = encoder.features(batch)
            long.append(features.cpu().numpy())
            short.append(encoder.code(features).cpu().numpy())
    return Codes(short=np.concatenate(short), long=np.concatenate(long))


def probe(train: Features, train_labels: Labels, test: Features, test_labels: Labels) -> ProbeResult:
    """Return both accuracies; arguments and errors as below."""
    data = (train, train_labels, test, test_labels)
    return ProbeResult(nearest_neighbour=nearest_neighbour_accuracy(*data), linear_svm=linear_svm_accuracy(*data))


def nearest_neighbour_accuracy(train: Features, train_labels: Labels, test: Features, test_labels: Labels) -> float:
    """Share of `test` [M, D] whose nearest Euclidean neighbour in `train` [N, D] has the same label.

    Raises ValueError if the lengths of features and labels, or the widths of train and test, differ.
    """
    return _accuracy(KNeighborsClassifier(1, algorithm="brute"), train, train_labels, test, test_labels)


def linear_svm_accuracy(
    train: Features, train_labels: Labels, test: Features, test_labels: Labels, seed: int = 0
) -> float:
    """Accuracy on `test` [M, D] of a linear SVM fitted to `train` [N, D]; errors as above.

    `seed` is used by the dual solver, which applies if there are more features than images.
    """
    svm = LinearSVC(C=SVM_PENALTY, max_iter=SVM_ITERATIONS, random_state=seed)
    return _accuracy(svm, train, train_labels, test, test_labels)


def chosen_svm_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, protocol: LinearProbe | None = None
) -> Estimate:
    """Accuracy on `test` [M, D] of a linear SVM whose C is selected on a held-out part of `train` [N, D]."""
    protocol = protocol or LinearProbe()
    scale = train.std(0).clamp(min=1e-12) if protocol.standardise else torch.ones(train.shape[1])
    features, unseen = (train / scale).numpy(), (test / scale).numpy()
    labels = train_labels.numpy()
    fit, choose = (rows.numpy() for rows in protocol.split(len(train)))

    def fitted(penalty: float, rows: Any) -> LinearSVC:
        svm = LinearSVC(C=penalty, max_iter=protocol.iterations, random_state=protocol.seed)
        return svm.fit(features[rows], labels[rows])

    accuracies = {c: float(fitted(c, fit).score(features[choose], labels[choose])) for c in protocol.penalties}
    penalty = protocol.choose(accuracies)
    named = torch.from_numpy(fitted(penalty, slice(None)).predict(unseen))
    return share_estimate(named == test_labels, (f"C={penalty:g}, chosen on {len(choose):,} of the train images",))


def _accuracy(classifier: Any, train: Features, train_labels: Labels, test: Features, test_labels: Labels) -> float:
    for name, features, labels in (("train", train, train_labels), ("test", test, test_labels)):
        if features.ndim != 2 or len(features) == 0 or labels.shape != (len(features),):
            raise ValueError(
                f"{name} features {features.shape} and labels {labels.shape} do not match; "
                "give [N, D] features and one label for each of the N"
            )
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"train features {train.shape} and test features {test.shape} differ in width; take both from one encoder"
        )
    return float(classifier.fit(train, train_labels).score(test, test_labels))
