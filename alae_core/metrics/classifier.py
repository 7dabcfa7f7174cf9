"""Small convolutional classifier whose penultimate layer gives 64 features for distances between sets of images.

It replaces Inception if images are not photographs or pretrained weights are not available. The distance is then specific to
the data set the classifier was trained on, and not comparable with a published FID. With one logit for each of several binary
attributes the same network labels generated images for linear separability.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.images import to_float

FEATURES = 64
SMALLEST_SIDE = 8
"""Smallest side of the images, in px."""
SMOOTHING = 0.05
"""Label smoothing in training."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Function of logits [n, K] and their labels that returns a scalar."""


class Classifier(nn.Module):
    """Convolutions down to 4x4, 64 features, and a logit for each class or attribute; about 90,000 parameters.

    The width of a stage depends only on its resolution, so larger images add cost only in narrow stages.
    """

    def __init__(self, resolution: int, channels: int, classes: int) -> None:
        super().__init__()
        if resolution < SMALLEST_SIDE or resolution & (resolution - 1):
            raise ValueError(
                f"resolution={resolution} must be a power of two and at least {SMALLEST_SIDE} for the classifier"
            )
        if channels < 1 or classes < 1:
            raise ValueError(f"channels={channels}, classes={classes}: the classifier needs at least 1 of each")
        self.resolution, self.channels, self.classes = resolution, channels, classes
        stages: list[nn.Module] = []
        while resolution > 4:
            width = min(max(512 // resolution, 8), 64)
            stages.append(_stage(channels, width))
            channels, resolution = width, resolution // 2
        self.stages = nn.Sequential(*stages)
        self.hidden = nn.Linear(channels * 4 * 4, FEATURES)
        self.output = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate activations [N, 64] of images [N, C, R, R] in [-1, 1]."""
        return F.relu(self.hidden(self.stages(images).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, R, R] in [-1, 1]."""
        return self.output(self.features(images))


class TrainedClassifier(NamedTuple):
    """Classifier in evaluation mode, and its accuracy on the validation images, in [0, 1]."""

    module: Classifier
    accuracy: float


class TrainedAttributes(NamedTuple):
    """Classifier of attributes in evaluation mode, and its accuracy for each attribute on the validation images."""

    module: Classifier
    accuracies: tuple[float | None, ...]
    """Accuracies in [0, 1]; None for an attribute whose value is unknown for all validation images."""


class _Training(NamedTuple):
    epochs: int
    batch_size: int
    learning_rate: float
    device: torch.device | str


def _stage(channels: int, width: int) -> nn.Sequential:
    # Pooling before the normalisation and the ReLU quarters the cost of both.
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU())


def train_classifier(
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    *,
    seed: int,
    classes: int | None = None,
    validation: tuple[np.ndarray | Tensor, np.ndarray | Tensor] | None = None,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    device: torch.device | str = "cpu",
) -> TrainedClassifier:
    """Train on uint8 images [N, R, R, C] with integer labels [N]; without `validation`, a random tenth is held out.

    The result depends only on the arguments, up to rounding if the number of threads differs; the global random state is
    neither read nor changed. Raises ValueError for images or labels of another form.
    """
    images, labels = _checked(images, labels, classes)
    classes = int(labels.max()) + 1 if classes is None else classes
    if classes < 2:
        raise ValueError(f"classes={classes} leave nothing to distinguish; give images of at least 2 classes")
    held = None if validation is None else _checked(*validation, classes)
    training = _Training(epochs, batch_size, learning_rate, device)
    module, (held_images, held_labels) = _trained(images, labels, held, seed, classes, _of_classes, training)
    return TrainedClassifier(module, _correct(_logits(module, held_images).argmax(1), held_labels))


def train_attributes(
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    *,
    seed: int,
    validation: tuple[np.ndarray | Tensor, np.ndarray | Tensor] | None = None,
    epochs: int = 8,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
    device: torch.device | str = "cpu",
) -> TrainedAttributes:
    """As `train_classifier`, for K binary attributes at once: labels [N, K] of 0 and 1, or -1 for unknown values.

    A positive logit predicts 1. Unknown values affect neither training nor accuracy. Raises ValueError as above.
    """
    images, labels = _checked_attributes(images, labels)
    held = None if validation is None else _checked_attributes(*validation)
    training = _Training(epochs, batch_size, learning_rate, device)
    module, (held_images, held_labels) = _trained(images, labels, held, seed, labels.shape[1], _of_attributes, training)
    predicted = (_logits(module, held_images) > 0).long()
    pairs = zip(predicted.unbind(1), held_labels.unbind(1), strict=True)
    known = [(each[truth >= 0], truth[truth >= 0]) for each, truth in pairs]
    return TrainedAttributes(module, tuple(_correct(*pair) if len(pair[1]) else None for pair in known))


def _checked(images: np.ndarray | Tensor, labels: np.ndarray | Tensor, classes: int | None) -> tuple[Tensor, Tensor]:
    images, labels = torch.as_tensor(images), torch.as_tensor(labels).long()
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [N, R, R, C]")
    if labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            f"{len(images)} images with labels of shape {list(labels.shape)}; give at least one, and a label for each"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        bound = "0 or more" if classes is None else f"in 0..{classes - 1}"
        raise ValueError(f"labels span {low}..{high}, expected {bound}; leave unlabelled images out")
    return images, labels


def _checked_attributes(images: np.ndarray | Tensor, labels: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
    labels = torch.as_tensor(labels)
    if labels.ndim != 2 or not labels.shape[1] or not ((labels >= -1) & (labels <= 1)).all():
        raise ValueError(
            f"labels of shape {list(labels.shape)} must be -1, 0 or 1 for each image and attribute: [N, K]"
        )
    return _checked(images, torch.zeros(len(labels)), None)[0], labels.long()


def _trained(
    images: Tensor,
    labels: Tensor,
    held: tuple[Tensor, Tensor] | None,
    seed: int,
    outputs: int,
    loss: Loss,
    training: _Training,
) -> tuple[Classifier, tuple[Tensor, Tensor]]:
    """Trained classifier in evaluation mode, and the held-out images and labels."""
    generator = torch.Generator().manual_seed(seed)
    if held is None:
        order = torch.randperm(len(images), generator=generator)
        rows, rest = order.tensor_split([max(len(order) // 10, 1)])
        held = images[rows], labels[rows]
        images, labels = images[rest], labels[rest]
    if len(images) < 2:
        raise ValueError(f"{len(images)} labelled images are left to train on; give at least 3")
    module = _initialised(images.shape[1], images.shape[3], outputs, seed).to(training.device)
    _fit(module, images, labels, generator, loss, training)
    return module.eval(), held


def _of_classes(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def _of_attributes(logits: Tensor, labels: Tensor) -> Tensor:
    smoothed = labels.clamp(min=0) * (1 - SMOOTHING) + SMOOTHING / 2
    return F.binary_cross_entropy_with_logits(logits, smoothed, weight=(labels >= 0).float())


def _initialised(resolution: int, channels: int, classes: int, seed: int) -> Classifier:
    # Layers draw their weights from the CPU's global generator, whose state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Classifier(resolution, channels, classes)


def _fit(
    module: Classifier,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    loss: Loss,
    training: _Training,
) -> None:
    epochs, batch_size, learning_rate, device = training
    # Small sets get smaller batches, so that an epoch has at least about 20 steps.
    batch_size = max(min(batch_size, len(images) // 20), 2)
    steps = epochs * (len(images) // batch_size)
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        # An incomplete last batch is dropped, because batch norm cannot normalise a single image.
        for rows in order[: len(order) // batch_size * batch_size].split(batch_size):
            logits = module(to_float(images[rows].to(device)))
            optimizer.zero_grad(set_to_none=True)
            loss(logits, labels[rows].to(device)).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _logits(module: Classifier, images: Tensor, batch_size: int = 250) -> Tensor:
    device = next(module.parameters()).device
    return torch.cat([module(to_float(part.to(device))).cpu() for part in images.split(batch_size)])


def _correct(predicted: Tensor, labels: Tensor) -> float:
    return int((predicted == labels).sum()) / len(labels)
