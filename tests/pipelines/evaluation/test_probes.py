"""Probes: accuracies on known codes, errors, and the codes of images."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alae_core import images
from alae_core.networks.mlp import MLPEncoder
from pipelines.evaluation import probes

pytestmark = pytest.mark.slow

BOTH = pytest.mark.parametrize("accuracy", [probes.nearest_neighbour_accuracy, probes.linear_svm_accuracy])


def clouds(count: int, seed: int, classes: int = 3, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal clusters, one at distance ten on each axis."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return rng.standard_normal((count, width)) + 10.0 * np.eye(classes, width)[labels], labels


@BOTH
def test_clouds_that_lie_apart_are_all_named(accuracy):
    assert accuracy(*clouds(200, seed=0), *clouds(100, seed=1)) == 1.0


@BOTH
def test_labels_without_meaning_are_named_by_chance(accuracy):
    (train, _), (test, _) = clouds(600, seed=0), clouds(600, seed=1)
    rng = np.random.default_rng(2)
    assert abs(accuracy(train, rng.integers(0, 4, 600), test, rng.integers(0, 4, 600)) - 0.25) < 0.08


def test_the_nearest_neighbour_by_euclidean_distance_decides():
    # The L1 distance would choose (5, 0) for the first, the maximum distance (103, 3) for the second.
    train = np.array([[3.0, 3.0], [5.0, 0.0], [103.0, 3.0], [104.0, 0.0]])
    test = np.array([[0.0, 0.0], [100.0, 0.0]])
    data = (train, np.array([0, 1, 0, 1]), test)
    assert probes.nearest_neighbour_accuracy(*data, np.array([0, 1])) == 1.0
    assert probes.nearest_neighbour_accuracy(*data, np.array([0, 0])) == 0.5


def test_a_linear_svm_cannot_name_the_corners_of_a_square_but_a_neighbour_can():
    corners = np.array([[0, 0], [1, 1], [0, 1], [1, 0]], dtype=float) * 20
    labels = np.array([0, 0, 1, 1])
    rng = np.random.default_rng(0)
    train, test = (np.repeat(corners, 50, 0) + rng.standard_normal((200, 2)) for _ in range(2))
    truth = np.repeat(labels, 50)
    result = probes.probe(train, truth, test, truth)
    assert result.nearest_neighbour == 1.0
    assert result.linear_svm <= 0.75


def test_a_linear_svm_weighs_features_by_their_scale_since_nothing_is_standardised():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    telling = np.where(labels, 1.0, -1.0) + 0.01 * rng.standard_normal(100)
    data = np.stack([1e-4 * telling, rng.standard_normal(100)], 1)
    assert probes.linear_svm_accuracy(data, labels, data, labels) < 0.8
    scaled = data * [1e4, 1.0]
    assert probes.linear_svm_accuracy(scaled, labels, scaled, labels) == 1.0


@pytest.mark.parametrize("width", [8, 300])
def test_the_same_seed_gives_the_same_accuracy_with_few_features_and_with_many(width):
    (train, _), (test, _) = clouds(100, seed=0, width=width), clouds(400, seed=1, width=width)
    noise = np.random.default_rng(2)
    labels, truth = noise.integers(0, 3, 100), noise.integers(0, 3, 400)
    first, again = (probes.linear_svm_accuracy(train, labels, test, truth, seed=5) for _ in range(2))
    assert first == again


@BOTH
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4, 2), (3,), (2, 2), (2,)), r"train features \(4, 2\) and labels \(3,\) do not match"),
        (((4, 2), (4,), (2, 2), (2, 1)), r"test features \(2, 2\) and labels \(2, 1\) do not match"),
        (((4,), (4,), (2,), (2,)), r"train features \(4,\) and labels \(4,\) do not match"),
        (((4, 2), (4,), (0, 2), (0,)), r"test features \(0, 2\) and labels \(0,\) do not match"),
        (((4, 2), (4,), (2, 3), (2,)), r"train features \(4, 2\) and test features \(2, 3\) differ in width"),
    ],
)
def test_features_and_labels_that_do_not_match_are_refused_with_their_shapes(accuracy, shapes, message):
    train, train_labels, test, test_labels = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        accuracy(train, train_labels, test, test_labels)


def test_codes_are_the_last_hidden_layer_and_the_output_in_order_and_in_any_batches():
    torch.manual_seed(0)
    encoder = MLPEncoder(latent=3, hidden=5, resolution=4, channels=2)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 2), np.uint8)
    batch = images.to_float(torch.from_numpy(pixels))
    with torch.no_grad():
        long, short = encoder.features(batch), encoder(batch)
    for batch_size in (1, 3, 7, 100):
        codes = probes.encoder_codes(encoder, pixels, batch_size)
        assert codes.long.shape == (7, 5) and codes.short.shape == (7, 3)
        torch.testing.assert_close(torch.from_numpy(codes.long), long)
        torch.testing.assert_close(torch.from_numpy(codes.short), short)


@pytest.mark.parametrize(("count", "batch_size"), [(0, 5), (5, 0)])
def test_no_images_and_empty_batches_are_refused(count, batch_size):
    encoder = MLPEncoder(latent=3, hidden=5, resolution=4, channels=1)
    with pytest.raises(ValueError, match="at least"):
        probes.encoder_codes(encoder, np.zeros((count, 4, 4, 1), np.uint8), batch_size)


def test_the_benchmark_reports_every_feature_over_the_seeds(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "digits.npz", images=rng.integers(0, 256, (90, 28, 28), np.uint8), labels=np.arange(90) % 3)
    benchmark = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "mnist_probes.py"))
    arguments = ["--data", str(tmp_path / "digits.npz"), "--seeds", "0,1", "--kimg", "0.1", "--validation", "30"]
    assert (
        benchmark["main"]([*arguments, "--out", str(tmp_path / "rows.json"), "--page", str(tmp_path / "page.png")]) == 0
    )
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    trained = {(row["features"], row["code"]) for row in rows if row["seed"] == 1}
    assert {("ALAE, live", "long"), ("ALAE, averaged", "short"), ("untrained encoder", "long")} <= trained
    assert all(0 <= row["linear_svm"] <= 1 and 0 <= row["nearest_neighbour"] <= 1 for row in rows)
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("| PCA-50 ")).count("±") == 0
    assert next(line for line in lines if line.startswith("| ALAE, live ")).count("±") == 4
    assert Image.open(tmp_path / "page.png").size[0] > 16 * 28
