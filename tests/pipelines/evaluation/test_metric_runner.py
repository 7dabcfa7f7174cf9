"""Metrics by name: each compared with its formula, shared streams, and equal results for any number of shards."""

import pickle
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core.algorithm import Sampling
from alae_core.images import to_float, to_uint8
from alae_core.metrics import kernel, ms_ssim, path_length, precision_recall, reconstruction
from alae_core.schedule import Level
from pipelines import presets
from pipelines.data.format.shards import Dataset, Split
from pipelines.data.pack.pack import pack
from pipelines.evaluation import runner
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.plan import Planner
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from pipelines.runs.evaluations import metrics_of
from tests.support import tiny

pytestmark = pytest.mark.slow

TRAIN, VALIDATION, SIDE = 216, 24, 8
CONFIG = EvaluationConfig()
EVERY = (
    "fd_pixels0.8k",
    "fd_classifier0.1k",
    "kd_pixels0.6k_pairs",
    "kd_pixels0.6k_5x50",
    "pr_pixels0.6k3",
    "is_classifier0.8k",
    "msssim0.6k",
    "reciprocity0.8k",
    "l1_0.02k_recon_validation",
    "l2_0.1k_recon",
    "fd_pixels0.2k_recon",
    "fd_pixels0.6k_psi0.5_mixed0.9_floored",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 200, (TRAIN + VALIDATION, 1, 1))
    images = (shades + rng.integers(0, 56, (TRAIN + VALIDATION, SIDE, SIDE))).astype(np.uint8)
    np.savez(folder / "a.npz", images=images, labels=(shades[:, 0, 0] > 100).astype(np.int64))
    pack(str(folder / "a.npz"), str(folder / "packed"), resolution=SIDE, validation_fraction=0.1)
    return Dataset.open(str(folder / "packed"))


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.manual_seed(0)
    experiment = presets.load("debug_mnist32_style_alae")
    algorithm = experiment.algorithm.build()
    for network in algorithm.networks.values():
        network.eval().requires_grad_(False)
    level = Level(index=1, resolution=SIDE, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=1, seed=0)


def measured(names: Sequence[str], subject: Subject, dataset: Dataset, shards: int = 1) -> dict[str, Any]:
    found = runner.measure(names, subject, (dataset,), CONFIG, shards)
    return {key: estimate for each in found for key, estimate in each.estimates.items()}


def samples(subject: Subject, count: int, sampling: Sampling = Sampling()) -> Tensor:  # noqa: B008
    return torch.cat(list(subject.samples(count, sampling)))


def reals(dataset: Dataset, split: str = "train") -> Tensor:
    part = dataset.split(split)
    return torch.from_numpy(part.read(SIDE, np.arange(part.rows)))


@pytest.mark.parametrize("shards", [2, 3])
def test_every_metric_is_the_same_from_any_number_of_shards(dataset: Dataset, subject: Subject, shards: int) -> None:
    whole = measured(EVERY, subject, dataset)
    parts = measured(EVERY, subject, dataset, shards)
    assert whole.keys() == parts.keys() and len(whole) == len(EVERY) + 1
    for key, estimate in whole.items():
        assert parts[key].value == pytest.approx(estimate.value, rel=1e-9), key
        assert parts[key].standard_error == pytest.approx(estimate.standard_error, rel=1e-6), key
        assert parts[key].count == estimate.count and parts[key].notes == estimate.notes


def test_parts_of_shards_merge_in_any_order_and_after_a_journey(dataset: Dataset, subject: Subject) -> None:
    tasks = Planner(subject, (dataset,), CONFIG).plan(("kd_pixels0.6k_pairs", "fd_pixels0.6k"))
    parts = [runner.gather(tasks, subject, (dataset,), runner.Shard(index, 3)) for index in range(3)]
    sent = pickle.loads(pickle.dumps(parts))
    first, other = runner.finish(tasks, sent), runner.finish(tasks, parts[::-1])
    assert metrics_of(first) == pytest.approx(metrics_of(other), rel=1e-9)


def test_a_shard_without_batches_adds_nothing(dataset: Dataset, subject: Subject) -> None:
    names = ("fd_pixels0.1k", "l1_0.02k_recon_validation", "kd_pixels0.1k_pairs")
    assert measured(names, subject, dataset, 5)["fd_pixels0.1k"].count == 100


def test_distances_are_those_of_the_samples_and_the_train_split(dataset: Dataset, subject: Subject) -> None:
    extractor = ensure_extractor(dataset, "pixels")
    real, generated = extractor(reals(dataset)), extractor(to_uint8(samples(subject, 200)))
    found = measured(("kd_pixels0.2k_pairs", "pr_pixels0.2k3"), subject, dataset)
    assert found["kd_pixels0.2k_pairs"].value == pytest.approx(kernel.kernel_distance(real[:200], generated).value)
    precision, recall = precision_recall.precision_recall(real[:200], generated)
    assert found["pr_pixels0.2k3_precision"].value == precision.value
    assert found["pr_pixels0.2k3_recall"].value == recall.value


def test_only_full_metrics_compare_with_the_whole_split(dataset: Dataset, subject: Subject) -> None:
    extractor = ensure_extractor(dataset, "pixels")
    real, generated = extractor(reals(dataset)), extractor(to_uint8(samples(subject, 100)))
    found = measured(("kd_pixels0.1k_full_pairs", "kd_pixels0.1k_pairs"), subject, dataset)
    assert found["kd_pixels0.1k_full_pairs"].value == pytest.approx(kernel.kernel_distance(real, generated).value)
    assert found["kd_pixels0.1k_pairs"].value == pytest.approx(kernel.kernel_distance(real[:100], generated).value)


def test_similarity_is_over_pairs_of_different_images(dataset: Dataset, subject: Subject) -> None:
    second = subject.generate(subject.batch(0, 100, purpose="second of a pair"))
    pair = [to_uint8(images).permute(0, 3, 1, 2) for images in (samples(subject, 100), second)]
    expected = ms_ssim.ms_ssim(*pair).values.mean()
    assert measured(["msssim0.1k"], subject, dataset)["msssim0.1k"].value == pytest.approx(float(expected))
    assert not torch.equal(*pair)


def test_reciprocity_is_that_of_mapped_codes_and_its_share_of_their_variance_is_noted(
    dataset: Dataset, subject: Subject
) -> None:
    batch = subject.batch(0, 200, purpose="codes")
    w = subject.mapped(batch.noise("z", subject.latent))
    again = subject.encoded(subject.batch(0, 200, subject.decoded(w, batch), purpose="codes"))
    found = measured(["reciprocity0.2k"], subject, dataset)["reciprocity0.2k"]
    assert found.value == pytest.approx(float(reconstruction.reciprocity(w, again).mean()), rel=1e-5)
    assert found.notes[0].startswith(f"{reconstruction.unexplained(w, again)} of the codes' variance")


def test_reconstructions_are_compared_with_their_own_images(dataset: Dataset, subject: Subject) -> None:
    real = to_float(reals(dataset, "validation"))
    expected = (subject.reconstruction(real) - real).abs().mean()
    found = measured(["l1_0.1k_recon_validation"], subject, dataset)["l1_0.1k_recon_validation"]
    assert found.value == pytest.approx(float(expected), rel=1e-5)
    assert found.count == VALIDATION
    assert found.notes == (f"the split has only {VALIDATION} of the 100 images that the name says",)


@pytest.mark.parametrize(("space", "path"), [("z", "full"), ("w", "end")])
def test_path_lengths_are_those_of_small_steps(
    dataset: Dataset, subject: Subject, monkeypatch: pytest.MonkeyPatch, space: str, path: str
) -> None:
    def squared(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).double().square().flatten(1).sum(1)

    perceptual = pretrained.Perceptual(squared, "digest")
    monkeypatch.setattr(pretrained, "perceptual_distance", lambda *_: perceptual)
    monkeypatch.setattr("pipelines.evaluation.requirements.check", lambda *_, **__: None)
    config = EvaluationConfig(vgg16_weights="given", lpips_heads="given")
    name = f"ppl0.2k_{space}{path}"
    found = runner.measure([name], subject, (dataset,), config, 2)[0].estimates[name]
    batch = subject.batch(0, 200, purpose="paths")
    ends = [batch.noise(end, subject.latent) for end in ("start", "end")]
    t = path_length.positions(batch.uniform("t"), path)
    mapped = subject.mapped if space == "z" else lambda w: w
    if space == "w":
        ends = [subject.mapped(z) for z in ends]
    lengths = path_length.path_lengths(
        lambda code: subject.decoded(mapped(code), batch),
        squared,
        *ends,
        t,
        interpolate=path_length.slerp if space == "z" else path_length.lerp,
    )
    assert found.value == pytest.approx(path_length.filtered_mean(lengths), rel=1e-6)
    assert found.value > 0


class Counting(Subject):
    drawn: ClassVar[list[int]] = []

    def generate(self, *arguments: Any) -> Tensor:
        images = super().generate(*arguments)
        self.drawn.append(len(images))
        return images


def test_metrics_of_one_stream_share_its_images_and_features(dataset: Dataset, subject: Subject) -> None:
    counting = Counting(**vars(subject))
    Counting.drawn.clear()
    measured(("fd_pixels0.3k", "kd_pixels0.2k_pairs", "fd_classifier0.1k"), counting, dataset)
    assert Counting.drawn == [250, 50]
    Counting.drawn.clear()
    measured(("fd_pixels0.3k", "fd_pixels0.3k_psi0.5"), counting, dataset)
    assert Counting.drawn == [250, 50, 250, 50]


def test_fewer_images_are_the_first_of_more(subject: Subject) -> None:
    assert torch.equal(samples(subject, 300)[:270], samples(subject, 270))


def test_real_features_are_computed_once(dataset: Dataset, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("kd_pixels0.15k_pairs", "fd_pixels0.15k_recon")
    first = measured(names[:1], subject, dataset)
    with monkeypatch.context() as patch:
        patch.setattr(Split, "read", None)
        assert measured(names[:1], subject, dataset) == first


def test_mirrored_reals_are_others_and_kept_apart(dataset: Dataset, subject: Subject) -> None:
    name = "fd_pixels0.1k"
    plain, mirrored = (measured([each], subject, dataset)[each].value for each in (name, f"{name}_mirrored"))
    assert plain != mirrored and mirrored == pytest.approx(plain, rel=0.2)


def test_a_record_holds_value_error_protocol_and_notes(dataset: Dataset, subject: Subject) -> None:
    found = runner.measure(["fd_pixels0.05k"], subject, (dataset,), CONFIG)
    metrics, record = metrics_of(found), found[0].record()
    estimate = record["estimates"]["fd_pixels0.05k"]
    assert metrics == {"eval/fd_pixels0.05k": estimate["value"], "eval/fd_pixels0.05k_se": estimate["standard_error"]}
    assert record["protocol"]["images"] == 50 and record["protocol"]["extractor"] == "pixels"
    assert estimate["notes"] == ["50 images are fewer than the 64 features, which biases the distance upwards"]


@pytest.mark.parametrize("name", ["mnist32_alae", "mnist32_style_alae"])
@torch.no_grad()
def test_decoding_the_codes_of_images_is_their_reconstruction(name: str) -> None:
    torch.manual_seed(0)
    algorithm = tiny.brief(presets.load(name)).algorithm.build()
    level = Level(index=1, resolution=SIDE, blend=1.0, batch_size=8, lr=1e-3)
    subject = Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=1, seed=0)
    real = torch.rand(4, 1, SIDE, SIDE) * 2 - 1
    batch = subject.batch(0, 4, real)
    torch.testing.assert_close(subject.decoded(subject.encoded(batch), batch), subject.reconstruction(real))
    assert subject.mapped(batch.noise("z", subject.latent)).shape == (4, subject.latent)
