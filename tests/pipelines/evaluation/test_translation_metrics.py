"""Metrics of translations: each compared with its formula, its baselines, and equal results for any number of shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core.images import to_uint8
from alae_core.metrics import inception_score, kernel
from alae_core.metrics.estimate import Estimate
from alae_core.metrics.frechet import FeatureStatistics, frechet_distance
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation import runner
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from pipelines.runs.evaluations import metrics_of
from tests.support import translators
from tests.support.translators import ECHO, ORACLE, SIDE, Known, of_algorithm, packed_pair, reals

CONFIG = EvaluationConfig()
TRAIN, HELD_OUT = 48, 12
EVERY = (
    "fd_pixels1k_validation_to_a",
    "fd_classifier0.01k_validation_to_b",
    "kd_pixels1k_pairs_validation_to_b",
    "kd_pixels1k_20x10_validation_to_a",
    "kd_pixels0.03k_pairs_to_b",
    "pr_pixels1k3_validation_to_b",
    "is_classifier1k_validation_to_b",
    "l1_1k_validation_to_a_paired",
    "l2_1k_validation_to_b_paired",
)
OF_STYLES = ("cis_classifier8x40_validation_to_b", "diversity_lite0_5x3_validation_to_a")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, ...]:
    return packed_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def munit() -> Subject:
    return translators.subject()


@pytest.fixture(autouse=True)
def _a_small_perceptual_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean squared difference, as a distance without a network."""
    known = pretrained.Perceptual(lambda a, b: (a - b).square().flatten(1).mean(1), "squares")
    monkeypatch.setattr(pretrained, "lite0_distance", lambda: known)


def measured(names: Sequence[str], subject: Subject, pair: tuple[Dataset, ...], shards: int = 1) -> dict[str, Estimate]:
    found = runner.measure(names, subject, pair, CONFIG, shards)
    return {key: estimate for each in found for key, estimate in each.estimates.items()}


def pixels(dataset: Dataset, content: Tensor) -> Tensor:
    return ensure_extractor(dataset, "pixels")(to_uint8(content))


@pytest.mark.parametrize("shards", [2, 3])
@pytest.mark.parametrize("kind", ["munit", "echo"])
def test_every_metric_is_the_same_from_any_number_of_shards(
    pair: tuple[Dataset, ...], munit: Subject, kind: str, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.evaluation.features.extractor.most_at_once", lambda resolution: 7)
    monkeypatch.setattr("pipelines.evaluation.runner.most_at_once", lambda resolution: 7)
    names = (*EVERY, *OF_STYLES) if kind == "munit" else EVERY
    subject = munit if kind == "munit" else of_algorithm(ECHO)
    whole, parts = measured(names, subject, pair), measured(names, subject, pair, shards)
    assert whole.keys() == parts.keys() and len(whole) > 2 * len(names)
    for key, estimate in whole.items():
        assert parts[key].value == pytest.approx(estimate.value, rel=1e-9), key
        assert parts[key].standard_error == pytest.approx(estimate.standard_error, rel=1e-6), key
        assert (parts[key].count, parts[key].notes) == (estimate.count, estimate.notes)


def test_a_kernel_distance_and_its_baselines_are_those_of_their_images(
    pair: tuple[Dataset, ...], munit: Subject
) -> None:
    a, b = pair
    real, made = (pixels(b, content) for content in (reals(b), munit.translated(reals(a), 1, 0)))
    others = {"": made, "_identity": pixels(b, reals(a)), "_floor": pixels(b, reals(b, "train"))}
    name = "kd_pixels1k_pairs_validation_to_b"
    found = measured([name], munit, pair)
    assert found.keys() == {name + ending for ending in others}
    for ending, features in others.items():
        expected = kernel.kernel_distance(real, features)
        assert found[name + ending].value == pytest.approx(expected.value)
        assert found[name + ending].standard_error == pytest.approx(expected.standard_error)
    drawn = "kd_pixels1k_20x10_validation_to_b"
    expected = kernel.kernel_distance_of_subsets(real, made, subsets=20, subset_size=10)
    assert measured([drawn], munit, pair)[drawn].value == pytest.approx(expected.value)


def test_a_frechet_distance_and_its_baselines_are_those_of_their_images(
    pair: tuple[Dataset, ...], munit: Subject
) -> None:
    a, b = pair

    def statistics(content: Tensor) -> FeatureStatistics:
        found = FeatureStatistics(192)
        found.update(pixels(a, content))
        return found

    name = "fd_pixels1k_validation_to_a"
    found = measured([name], munit, pair)
    others = {"": munit.translated(reals(b), 0, 0), "_identity": reals(b), "_floor": reals(a, "train")}
    for ending, content in others.items():
        expected = frechet_distance(statistics(reals(a)), statistics(content))
        assert found[name + ending].value == pytest.approx(expected, rel=1e-6)


def test_the_numbers_of_images_of_both_sides_are_noted(pair: tuple[Dataset, ...], munit: Subject) -> None:
    found = measured(["kd_pixels1k_pairs_validation_to_b"], munit, pair)
    counts = [estimate.notes[0] for estimate in found.values()]
    assert counts == [f"{count} images against {HELD_OUT} real ones" for count in (HELD_OUT, HELD_OUT, TRAIN)]
    assert all("has only 12 of the 1,000 images" in estimate.notes[1] for estimate in found.values())


def test_an_identity_map_scores_what_the_baseline_does_and_an_oracle_the_distance_of_a_set_from_itself(
    pair: tuple[Dataset, ...],
) -> None:
    for name in ("kd_pixels1k_pairs_validation_to_b", "fd_pixels1k_validation_to_a"):
        echo, oracle = (measured([name], of_algorithm(known), pair) for known in (ECHO, ORACLE))
        assert echo[name].value == pytest.approx(echo[f"{name}_identity"].value)
        assert oracle[name].value < 0.05 * echo[name].value
        assert oracle[f"{name}_identity"] == echo[f"{name}_identity"]


def test_paired_errors_are_those_from_the_image_of_the_same_id(pair: tuple[Dataset, ...]) -> None:
    name = "l1_1k_validation_to_b_paired"
    oracle, echo = (measured([name], of_algorithm(known), pair) for known in (ORACLE, ECHO))
    assert oracle[name].value == pytest.approx(0, abs=1e-6) and oracle[name].count == HELD_OUT
    assert echo[name].value == pytest.approx(echo[f"{name}_identity"].value) and echo[name].value > 0.5


def test_the_baselines_of_paired_errors_are_those_of_their_images(pair: tuple[Dataset, ...], munit: Subject) -> None:
    a, b = pair
    given, truth, train = reals(a), reals(b), reals(b, "train")
    nearest = train[torch.cdist(given.flatten(1), train.flatten(1)).argmin(1)]
    instead = {"identity": given, "mean": train.mean(0).expand_as(truth), "nearest": nearest}
    for metric, power in (("l1", 1), ("l2", 2), ("pd_lite0_", 2)):
        name = f"{metric}_1k_validation_to_b_paired".replace("__", "_")
        found = measured([name], munit, pair)
        for kind, images in instead.items():
            errors = (images - truth).abs().pow(power).flatten(1).mean(1).double()
            assert found[f"{name}_{kind}"].value == pytest.approx(float(errors.mean()), rel=1e-5)
            assert found[f"{name}_{kind}"].standard_error == pytest.approx(
                float(errors.std()) / HELD_OUT**0.5, rel=1e-4
            )


def test_baselines_are_computed_once(
    pair: tuple[Dataset, ...], munit: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["l1_0.01k_validation_to_b_paired", "kd_pixels0.01k_pairs_validation_to_b"]
    first = measured(names, munit, pair)
    read: set[str] = set()
    original = Split.read

    def noted(split: Split, *arguments: Any) -> np.ndarray:
        read.add(split.name)
        return original(split, *arguments)

    monkeypatch.setattr(Split, "read", noted)
    assert measured(names, munit, pair) == first
    assert read == {"validation"}


def test_images_without_a_counterpart_are_left_out_and_noted(tmp_path: Path) -> None:
    pair = packed_pair(tmp_path / "uneven", a=60, b=50)
    splits = [dataset.split("validation") for dataset in pair]
    ids = [set(split.ids(np.arange(split.rows))) for split in splits]
    shared = len(ids[0] & ids[1])
    name = "l1_1k_validation_to_b_paired"
    assert 0 < shared < HELD_OUT
    found = measured([name], of_algorithm(ORACLE), pair)[name]
    assert (found.value, found.count) == (pytest.approx(0, abs=1e-6), shared)
    assert found.notes == (f"only {shared} of the split's {HELD_OUT} images have a counterpart",)


def test_diversity_is_the_mean_distance_of_pairs_of_styles_over_inputs(
    pair: tuple[Dataset, ...], munit: Subject
) -> None:
    given = reals(pair[0])[:5].repeat_interleave(3, 0)
    first, second = (munit.translated(given, 1, 0, purpose) for purpose in ("translations", "second of a pair"))
    of_inputs = (first - second).square().flatten(1).mean(1).view(5, 3).mean(1).double()
    name = "diversity_lite0_5x3_validation_to_b"
    found = measured([name], munit, pair)
    assert found[name].value == pytest.approx(float(of_inputs.mean()), rel=1e-5) and found[name].value > 0
    assert found[name].standard_error == pytest.approx(float(of_inputs.std()) / 5**0.5, rel=1e-4)
    assert found[name].count == 5


def test_beside_diversity_stands_that_of_random_pairs_of_real_images(pair: tuple[Dataset, ...], munit: Subject) -> None:
    real = reals(pair[1])
    between = torch.cdist(real.flatten(1), real.flatten(1)).square() / real[0].numel()
    expected = float(between.sum() / (HELD_OUT * (HELD_OUT - 1)))
    found = measured(["diversity_lite0_1000x1_validation_to_b"], munit, pair)
    reference = found["diversity_lite0_1000x1_validation_to_b_reals"]
    assert reference.count == HELD_OUT // 2
    assert abs(reference.value - expected) < 4 * (reference.standard_error or 0)


def test_conditional_score_is_that_of_the_classes_of_each_input_s_outputs(
    pair: tuple[Dataset, ...], munit: Subject
) -> None:
    classifier = ensure_extractor(pair[1], "classifier")
    outputs = munit.translated(reals(pair[0])[:6].repeat_interleave(10, 0), 1, 0)
    divergences = []
    for probabilities in classifier.classes(to_uint8(outputs)).view(6, 10, -1):
        statistics = inception_score.LabelStatistics(2)
        statistics.update(probabilities)
        divergences.append(statistics.divergence)
    name = "cis_classifier6x10_validation_to_b"
    assert measured([name], munit, pair)[name].value == pytest.approx(float(np.mean(divergences)), rel=1e-4)


def test_classes_are_those_of_the_domain_translated_to(pair: tuple[Dataset, ...]) -> None:
    class Paints(Known):
        """Returns images of one class of the domain for every input."""

    dataset = pair[1]
    labels = dataset.split("train").labels(np.arange(TRAIN))
    first = reals(dataset, "train")[labels == 0]
    one = Paints(lambda images, to: first[: len(images)])
    name = "is_classifier1k_validation_to_b"
    assert measured([name], of_algorithm(one), pair)[name].value < 1.9
    assert list(Path(dataset.url, "extractors").glob("classifier_*"))


def test_each_translation_has_a_style_of_its_own_and_fewer_are_the_first_of_more(
    pair: tuple[Dataset, ...], munit: Subject
) -> None:
    same = reals(pair[0])[:1].expand(6, -1, -1, -1)
    made = munit.translated(same, 1, 0)
    assert len({tuple(image.flatten()[:20].tolist()) for image in made}) == 6
    torch.testing.assert_close(munit.translated(same[:2], 1, 0), made[:2])
    assert not torch.equal(munit.translated(same, 1, 1), made)


def test_translations_that_are_not_finite_are_refused(pair: tuple[Dataset, ...]) -> None:
    broken = of_algorithm(Known(lambda images, to: images / 0))
    with pytest.raises(RuntimeError, match=f"{HELD_OUT} of {HELD_OUT} translations are not finite"):
        measured(["kd_pixels1k_pairs_validation_to_b"], broken, pair)


def test_a_record_holds_the_baselines_beside_the_number(pair: tuple[Dataset, ...], munit: Subject) -> None:
    (found,) = runner.measure(["kd_pixels1k_pairs_validation_to_a"], munit, pair, CONFIG)
    record = found.record()
    assert record["protocol"]["to"] == "a" and record["protocol"]["of"] == "translations"
    assert list(record["estimates"]) == [*found.protocol.keys]
    metrics = metrics_of([found])
    assert {f"eval/{key}" for key in found.protocol.keys} <= set(metrics)


def test_the_sides_of_a_pair_may_differ_in_length(tmp_path: Path) -> None:
    pair = packed_pair(tmp_path / "uneven", a=30, b=70)
    name = "kd_pixels1k_pairs_validation_to_b"
    found = measured([name], of_algorithm(ECHO, SIDE), pair)[name]
    assert found.count == 6 and found.notes[0] == "6 images against 14 real ones"
