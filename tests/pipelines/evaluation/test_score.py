"""Scores of a checkpoint, for algorithms with known images, and the extractors of their features."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from alae_core.algorithm import PLAIN_SAMPLING, Sampling, SamplingError
from alae_core.images import blend_with_coarser, to_float
from alae_core.metrics.classifier import train_classifier
from alae_core.metrics.frechet import FeatureStatistics
from alae_core.schedule import Level
from pipelines.data.format.shards import Dataset, Split
from pipelines.data.pack.pack import pack
from pipelines.evaluation.features import extractors
from pipelines.evaluation.features.extractor import Extractor, batches
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.features.reference import Reals
from pipelines.evaluation.score import Scores, evaluate
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from pipelines.experiment.metric_choice import metric_name

pytestmark = pytest.mark.slow

TRAIN, VALIDATION = 270, 30


def bars(count: int, seed: int) -> dict[str, np.ndarray]:
    """Noisy 16x16 images with a horizontal (0) or vertical (1) bar at a random position."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (count, 16, 16), np.uint8)
    labels = rng.integers(0, 2, count)
    for image, label, place in zip(images, labels, rng.integers(0, 14, count), strict=True):
        lines = image if label == 0 else image.T
        lines[place : place + 2] = 220
    return {"images": images, "labels": labels}


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Dataset]:
    def make(name: str = "bars", fraction: float = 0.1, **arrays: np.ndarray) -> Dataset:
        source, folder = tmp_path / f"{name}.npz", str(tmp_path / name)
        np.savez(source, **(arrays or bars(TRAIN + VALIDATION, seed=0)))
        pack(str(source), folder, resolution=16, validation_fraction=fraction)
        return Dataset.open(folder)

    return make


@pytest.fixture
def dataset(packed: Callable[..., Dataset]) -> Dataset:
    return packed()


@dataclass
class Memory:
    """Generates the given images in order, repeatedly; reconstructs each image at half its contrast."""

    images: Tensor
    mixes: bool = True
    domains: int = 1

    def generate(self, networks: Any, batch: Any, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        start = batch.nimg * 250
        return self.images[torch.arange(start, start + batch.size) % len(self.images)] * sampling.truncation

    def reconstruct(self, networks: Any, batch: Any) -> Tensor:
        return batch.images[0] * 0.5

    def mix(self, networks: Any, sources: Any, destinations: Any) -> Tensor | None:
        return destinations.images[0].repeat(sources.size, 1, 1, 1) if self.mixes else None


def read(dataset: Dataset, split: str, resolution: int) -> Tensor:
    part = dataset.split(split)
    return to_float(torch.from_numpy(part.read(resolution, np.arange(part.rows))))


def score(algorithm: Any, dataset: Dataset, resolution: int = 16, blend: float = 1.0, **config: Any) -> Scores:
    level = Level(index=1, resolution=resolution, blend=blend, batch_size=8, lr=1e-3)
    subject = Subject(algorithm=algorithm, networks={}, level=level, channels=1, seed=0)
    settings = {"extractor": "pixels", "samples": TRAIN, "reconstructions": 20, "grid_columns": 4}
    return evaluate(subject, (dataset,), EvaluationConfig(**(settings | config)))


def reference(dataset: Dataset, extractor: Extractor, resolution: int) -> FeatureStatistics:
    return Reals(dataset=dataset, extractor=extractor, resolution=resolution).statistics()


def noise(resolution: int) -> Tensor:
    return torch.rand(TRAIN, 1, resolution, resolution, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("resolution", [4, 8, 16])
@pytest.mark.parametrize("extractor", ["pixels", "classifier"])
def test_repeating_the_train_split_is_at_distance_zero_and_noise_is_far(dataset, extractor, resolution):
    name = f"eval/fd_{extractor}0.27k"
    real = score(Memory(read(dataset, "train", resolution)), dataset, resolution, extractor=extractor)
    far = score(Memory(noise(resolution)), dataset, resolution, extractor=extractor)
    assert far.metrics[name] > 0.1
    assert real.metrics[name] < 1e-6 * far.metrics[name]
    assert real.metrics["eval/resolution"] == resolution


def test_the_distance_counts_as_many_samples_as_the_config_says(dataset):
    shown = []

    class Counting(Memory):
        def generate(self, networks: Any, batch: Any, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
            shown.append(batch.size)
            return super().generate(networks, batch, sampling)

    scores = score(Counting(noise(16)), dataset, samples=600)
    assert shown[:3] == [250, 250, 100]
    assert scores.metrics["eval/samples"] == 600
    assert "eval/fd_pixels0.6k" in scores.metrics
    assert scores.metrics["eval/seconds"] > 0


def test_reconstruction_errors_are_means_over_the_first_validation_images(dataset):
    metrics = score(Memory(noise(16)), dataset, reconstructions=20).metrics
    real = read(dataset, "validation", 16)[:20]
    assert metrics["eval/reconstruction_l1"] == pytest.approx(float((real / 2).abs().mean()), rel=1e-5)
    assert metrics["eval/reconstruction_l2"] == pytest.approx(float((real / 2).square().mean()), rel=1e-5)


def test_more_reconstructions_than_images_use_each_once(dataset):
    metrics = score(Memory(noise(16)), dataset, reconstructions=10_000).metrics
    expected = float((read(dataset, "validation", 16) / 2).square().mean())
    assert metrics["eval/reconstruction_l2"] == pytest.approx(expected, rel=1e-5)


def test_errors_over_several_batches_are_those_of_all_their_images(packed):
    dataset = packed(fraction=0.0)
    metrics = score(Memory(noise(16)), dataset, reconstructions=280).metrics
    expected = float((read(dataset, "train", 16)[:280] / 2).abs().mean())
    assert metrics["eval/reconstruction_l1_train"] == pytest.approx(expected, rel=1e-5)


def test_without_validation_images_the_names_say_that_training_images_were_reconstructed(packed):
    metrics = score(Memory(noise(16)), packed(fraction=0.0)).metrics
    assert {"eval/reconstruction_l1_train", "eval/reconstruction_l2_train"} <= set(metrics)
    assert "eval/reconstruction_l2" not in metrics


def test_within_a_fade_the_networks_reconstruct_what_the_training_saw(dataset):
    metrics = score(Memory(noise(16)), dataset, blend=0.25, reconstructions=VALIDATION).metrics
    blended = blend_with_coarser(read(dataset, "validation", 16), 0.25)
    assert metrics["eval/reconstruction_l2"] == pytest.approx(float((blended / 2).square().mean()), rel=1e-5)


def test_pages_show_samples_reconstructions_and_mixing(dataset):
    pages = score(Memory(noise(16)), dataset).figures
    assert {"samples", "reals", "reconstructions", "mixing"} <= set(pages)
    assert all(page.dtype == np.uint8 and page.shape[2] == 1 for page in pages.values())
    first = pages["reals"][:256:16, :256:16, 0]
    np.testing.assert_array_equal(first, dataset.split("validation").read(16, np.array([0]))[0, :, :, 0])


def test_an_algorithm_that_does_not_mix_has_no_mixing_page(dataset):
    assert "mixing" not in score(Memory(noise(16), mixes=False), dataset).figures


def test_an_algorithm_that_cannot_truncate_has_no_page_of_truncated_samples(dataset):
    class Untruncated(Memory):
        def generate(self, networks: Any, batch: Any, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
            if sampling.truncation != 1.0:
                raise SamplingError("no mean")
            return super().generate(networks, batch, sampling)

    assert "samples_truncated" in score(Memory(noise(16)), dataset).figures
    pages = score(Untruncated(noise(16)), dataset).figures
    assert "samples" in pages and "samples_truncated" not in pages


def test_scores_repeat_exactly(dataset):
    first, again = (score(Memory(noise(16)), dataset, extractor="classifier") for _ in range(2))
    del first.metrics["eval/seconds"], again.metrics["eval/seconds"]
    assert first.metrics == again.metrics
    assert all(np.array_equal(page, again.figures[name]) for name, page in first.figures.items())


def test_images_that_are_not_finite_are_refused_instead_of_scored_as_black(dataset):
    broken = noise(16)
    broken[3, 0, 2, 2] = float("nan")
    with pytest.raises(RuntimeError, match="1 of 250 generated images are not finite"):
        score(Memory(broken), dataset)

    class Broken(Memory):
        def reconstruct(self, networks: Any, batch: Any) -> Tensor:
            return batch.images[0] / 0

    with pytest.raises(RuntimeError, match="20 of 20 reconstructions are not finite"):
        score(Broken(noise(16)), dataset)


def test_fewer_samples_than_features_are_warned_about(dataset, caplog):
    score(Memory(noise(16)), dataset, samples=64)
    assert not caplog.records
    score(Memory(noise(16)), dataset, samples=63)
    assert "evaluation.samples=63 is below the 64 features of evaluation.extractor=pixels" in caplog.text


@pytest.mark.parametrize(("samples", "expected"), [(5000, "5k"), (500, "0.5k"), (50_000, "50k"), (32, "0.032k")])
def test_the_metric_name_holds_extractor_and_thousands_of_samples(samples, expected):
    config = EvaluationConfig(samples=samples, extractor="classifier")
    assert metric_name(config) == f"eval/fd_classifier{expected}"


@pytest.mark.parametrize(
    ("protocol", "suffix"),
    [
        ({"mixing_probability": 0.9}, "_mixed0.9"),
        ({"rounding": "official"}, "_floored"),
        ({"mixing_probability": 0.5, "rounding": "official"}, "_mixed0.5_floored"),
    ],
)
def test_the_metric_name_tells_a_protocol_that_is_not_the_usual_one(protocol, suffix):
    assert metric_name(EvaluationConfig(**protocol)) == f"eval/fd_classifier5k{suffix}"


def test_styles_are_mixed_in_the_samples_of_the_distance_alone(dataset):
    asked = []

    class Asked(Memory):
        def generate(self, networks: Any, batch: Any, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
            asked.append((batch.size, sampling))
            return super().generate(networks, batch, sampling)

    scores = score(Asked(noise(16)), dataset, mixing_probability=0.9)
    assert asked[:2] == [(250, Sampling(mixing_probability=0.9)), (20, Sampling(mixing_probability=0.9))]
    assert all(sampling.mixing_probability == 0 for _, sampling in asked[2:]) and len(asked) > 2
    assert "eval/fd_pixels0.27k_mixed0.9" in scores.metrics


def test_official_rounding_darkens_the_samples_of_the_distance_and_no_page(dataset):
    real = Memory(read(dataset, "train", 16))
    usual, official = score(real, dataset), score(real, dataset, rounding="official")
    # Pixel means differ by half a gray level or more in each of 64 features.
    assert usual.metrics["eval/fd_pixels0.27k"] < 1e-9
    assert official.metrics["eval/fd_pixels0.27k_floored"] > 64 * (0.5 / 127.5) ** 2
    assert np.array_equal(usual.figures["samples"], official.figures["samples"])


def test_batches_hold_all_images_and_shrink_where_images_are_large():
    assert batches(600, 64) == [250, 250, 100]
    assert batches(0, 64) == []
    assert batches(3, 1024) == [1, 1, 1]
    assert max(batches(1000, 256)) * 256**2 <= 2**20


def test_the_classifier_is_trained_once_and_described_beside_its_weights(dataset, monkeypatch):
    first = ensure_extractor(dataset, "classifier")
    monkeypatch.setattr(extractors, "train_classifier", None)
    again = ensure_extractor(Dataset.open(dataset.url), "classifier")
    images = torch.from_numpy(dataset.split("train").read(16, np.arange(5)))
    assert torch.equal(first(images), again(images))
    assert first(images).shape == (5, first.dimension)
    about = description(dataset)
    assert about["accuracy"] > 0.8
    assert about["accuracy_on"] == "validation split"
    assert about["trained_on"] == "train split, 270 images"
    assert about["sha256"] == again.digest


def description(dataset: Dataset) -> dict[str, Any]:
    (path,) = Path(dataset.url, "extractors").glob("classifier_r16_*.json")
    return json.loads(path.read_text())


def test_without_validation_images_the_accuracy_is_of_a_held_out_tenth(packed):
    dataset = packed(fraction=0.0)
    ensure_extractor(dataset, "classifier")
    assert description(dataset)["accuracy_on"] == "a tenth of the train split, held out"


def test_only_images_with_a_label_are_learnt_from(dataset, monkeypatch):
    given = {}
    labels = Split.labels

    def without_some(split: Split, rows: np.ndarray) -> np.ndarray:
        return np.where(rows % 3 == 0, -1, labels(split, rows))

    def train(images: np.ndarray, labels: np.ndarray, **settings: Any) -> Any:
        given.update(images=images, labels=labels)
        return train_classifier(images, labels, epochs=1, **settings)

    monkeypatch.setattr(Split, "labels", without_some)
    monkeypatch.setattr(extractors, "train_classifier", train)
    ensure_extractor(dataset, "classifier")
    rows = np.flatnonzero(np.arange(TRAIN) % 3)
    np.testing.assert_array_equal(given["images"], dataset.split("train").read(16, rows))
    np.testing.assert_array_equal(given["labels"], labels(dataset.split("train"), rows))


def test_weights_that_are_not_those_described_are_refused(dataset):
    ensure_extractor(dataset, "classifier")
    path = Path(dataset.url, "extractors", description(dataset)["weights"])
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(RuntimeError, match=r"classifier_.*safetensors is not the file .*json describes; delete both"):
        ensure_extractor(dataset, "classifier")


def test_a_dataset_without_labels_has_no_classifier_and_says_what_to_do(packed):
    dataset = packed(images=bars(40, seed=1)["images"])
    with pytest.raises(
        ValueError, match=r"no labels .* use evaluation\.extractor=pixels, or pack the images with labels"
    ):
        ensure_extractor(dataset, "classifier")


def test_reference_statistics_are_computed_once_from_the_whole_train_split(dataset, monkeypatch):
    extractor = ensure_extractor(dataset, "pixels")
    first = reference(dataset, extractor, 8)
    expected = extractor(torch.from_numpy(dataset.split("train").read(8, np.arange(TRAIN)))).double()
    torch.testing.assert_close(first.mean, expected.mean(0))
    assert first.count == TRAIN
    monkeypatch.setattr(Split, "read", None)
    again = reference(Dataset.open(dataset.url), extractor, 8)
    assert torch.equal(first.covariance, again.covariance)


def test_reference_statistics_of_other_weights_resolutions_or_images_are_kept_apart(packed):
    dataset, other = packed("one"), packed("two", **bars(TRAIN + VALIDATION, seed=5))
    pixels, classifier = (ensure_extractor(dataset, name) for name in ("pixels", "classifier"))
    retrained = replace(classifier, digest="other weights")
    for extractor, resolution in ((pixels, 16), (pixels, 8), (classifier, 16), (retrained, 16)):
        reference(dataset, extractor, resolution)
    reference(other, pixels, 16)
    names = [path.name for url in (dataset.url, other.url) for path in Path(url, "extractors").glob("stats_*")]
    assert len(set(names)) == len(names) == 5
    stored = next(Path(other.url, "extractors").glob("stats_pixels_r16_*"))
    assert int(safetensors.torch.load_file(stored)["count"]) == TRAIN


def test_pixel_features_are_box_averages_of_eight_by_eight(dataset):
    extractor = ensure_extractor(dataset, "pixels")
    images = torch.from_numpy(dataset.split("train").read(16, np.arange(3)))
    expected = to_float(images).reshape(3, 8, 2, 8, 2).mean((2, 4)).flatten(1)
    torch.testing.assert_close(extractor(images), expected)
    assert extractor.dimension == 64


def test_coarser_images_are_enlarged_by_repeating_pixels(dataset):
    coarse = torch.from_numpy(dataset.split("train").read(4, np.arange(3)))
    enlarged = torch.from_numpy(np.kron(coarse.numpy(), np.ones((1, 4, 4, 1), np.uint8)))
    for name in ("pixels", "classifier"):
        extractor = ensure_extractor(dataset, name)
        assert torch.equal(extractor(coarse), extractor(enlarged))
