"""Probes by name: each compared with its formula on known short and long codes, and the errors."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from alae_core.images import to_float
from alae_core.metrics.probes import LinearProbe, nearest_neighbour_accuracy
from alae_core.metrics.protocol_names import parse
from alae_core.schedule import Level
from pipelines import presets
from pipelines.data.format.shards import Dataset, Split
from pipelines.evaluation import requirements, runner
from pipelines.evaluation.evaluate import describe
from pipelines.evaluation.probes import chosen_svm_accuracy
from pipelines.evaluation.subject import Subject, offered
from pipelines.experiment import EvaluationConfig
from tests.support.attributes import SIDE

CONFIG = EvaluationConfig()
TRAIN, VALIDATION = 270, 30


class Flat(nn.Module):
    """An encoder whose long code is the image, and whose code is the first half of the image."""

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Encoding:
    """An algorithm with this encoder."""

    latent = SIDE * SIDE // 2
    domains = 1

    def __init__(self, encoder: nn.Module) -> None:
        self.networks = {"encoder": encoder}

    def embed(self, networks: Any, batch: Any) -> Tensor:
        return batch.images[0].flatten(1)[:, : self.latent]

    def embed_long(self, networks: Any, batch: Any) -> Tensor:
        long: Tensor = networks["encoder"].features(batch.images[0])
        return long


def subject() -> Subject:
    algorithm: Any = Encoding(Flat())
    level = Level(index=1, resolution=SIDE, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=1, seed=0)


def coded(dataset: Dataset, split: str, count: int, width: int) -> tuple[Tensor, Tensor]:
    rows = np.arange(count)
    pixels = to_float(torch.from_numpy(dataset.split(split).read(SIDE, rows)))
    return pixels.flatten(1)[:, :width], torch.from_numpy(dataset.split(split).labels(rows))


def measured(dataset: Dataset, *names: str, shards: int = 1) -> dict[str, Any]:
    found = runner.measure(names, subject(), (dataset,), CONFIG, shards)
    return {key: estimate for each in found for key, estimate in each.estimates.items()}


@pytest.mark.parametrize(("suffix", "width"), [("", 32), ("_long", 64)])
def test_probes_learn_from_train_images_and_are_scored_on_the_others(barred: Dataset, suffix: str, width: int) -> None:
    names = [f"{probe}0.2k{suffix}_validation" for probe in ("probe1nn", "probesvm")]
    train, test = coded(barred, "train", 200, width), coded(barred, "validation", VALIDATION, width)
    found = measured(barred, *names)
    assert found[names[0]] == nearest_neighbour_accuracy(*train, *test)
    assert found[names[1]] == chosen_svm_accuracy(*train, *test)
    assert all(0.5 < estimate.value <= 1 and estimate.count == VALIDATION for estimate in found.values())


@pytest.mark.parametrize("shards", [2, 3])
def test_they_are_the_same_from_any_number_of_shards(barred: Dataset, shards: int) -> None:
    names = ("probe1nn0.26k_validation", "probesvm0.26k_validation")
    assert measured(barred, *names, shards=shards) == measured(barred, *names)


def test_fewer_train_images_than_the_name_says_are_noted(barred: Dataset) -> None:
    name = "probe1nn10k_validation"
    assert measured(barred, name)[name].notes == (
        f"the split has only {TRAIN} of the 10,000 images that the name says",
    )


def test_images_without_a_label_are_left_out(barred: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = Split.labels
    monkeypatch.setattr(Split, "labels", lambda split, rows: np.where(rows % 3 == 0, -1, labels(split, rows)))
    found = measured(barred, "probe1nn0.2k_validation")["probe1nn0.2k_validation"]
    (train, named), (test, truth) = coded(barred, "train", 200, 32), coded(barred, "validation", VALIDATION, 32)
    assert found == nearest_neighbour_accuracy(
        train[named >= 0], named[named >= 0], test[truth >= 0], truth[truth >= 0]
    )
    assert found.count == VALIDATION - VALIDATION // 3
    monkeypatch.setattr(Split, "labels", lambda split, rows: np.full(len(rows), -1))
    with pytest.raises(ValueError, match="a probe needs labelled images on both sides"):
        measured(barred, "probe1nn0.2k_validation")


def test_what_stands_for_a_damaged_image_does_not_have_its_label(barred: Dataset) -> None:
    dataset = Dataset.open(barred.url, "skip")
    dataset.split("validation").replaced.update((3, 7))
    found = measured(dataset, "probe1nn0.2k_validation")["probe1nn0.2k_validation"]
    assert found.count == VALIDATION - 2


def test_the_penalty_is_chosen_on_train_images_and_noted() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    codes = torch.randn(120, 20, generator=generator) + 0.5 * labels.unsqueeze(1)
    protocol = LinearProbe(penalties=(1e-5, 1e-2, 10.0), seed=3)
    found = chosen_svm_accuracy(codes[:90], labels[:90], codes[90:], labels[90:], protocol)
    fit, choose = (rows.numpy() for rows in protocol.split(90))

    def svm(penalty: float, rows: np.ndarray) -> LinearSVC:
        return LinearSVC(C=penalty, max_iter=5000, random_state=3).fit(codes[rows].numpy(), labels[rows].numpy())

    scores = {c: svm(c, fit).score(codes[choose].numpy(), labels[choose].numpy()) for c in protocol.penalties}
    chosen = max(protocol.penalties, key=scores.__getitem__)
    assert found.value == svm(chosen, np.arange(90)).score(codes[90:].numpy(), labels[90:].numpy())
    assert found.notes == (f"C={chosen:g}, chosen on 9 of the train images",)
    # The labels of the test images do not affect the choice of C.
    assert chosen_svm_accuracy(codes[:90], labels[:90], codes[90:], 1 - labels[90:], protocol).notes == found.notes


def test_a_scale_of_the_codes_matters_only_without_standardising() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    codes = torch.randn(200, 2, generator=generator)
    codes[:, 0] = 1e-4 * (labels * 2 - 1 + 0.01 * codes[:, 0])
    for standardise, right in ((False, False), (True, True)):
        protocol = LinearProbe(penalties=(0.1,), standardise=standardise)
        found = chosen_svm_accuracy(codes[:100], labels[:100], codes[100:], labels[100:], protocol)
        assert (found.value == 1.0) is right


def refusal(name: str, **changes: Any) -> str:
    there = {"url": "digits", "resolution": 8, "label_count": 10, "splits": {"train": None, "validation": None}}
    made = SimpleNamespace(**there | changes)
    made.manifest = SimpleNamespace(splits=made.splits, attributes={})
    can = {"encodes": changes.get("encodes", True), "encodes_long": changes.get("encodes_long", False)}
    with pytest.raises(ValueError) as caught:
        requirements.check([name], CONFIG, [cast(Dataset, made)], **can)
    return str(caught.value)


def test_what_a_probe_lacks_is_one_sentence() -> None:
    name = "probesvm10k_validation"
    assert refusal(name, encodes=False) == f"{name} needs an encoder, and the algorithm has none; leave it out"
    assert f"{name} needs labels of 2 classes or more, and digits has 0; pack" in refusal(name, label_count=0)
    assert f"{name} needs the split 'validation', and digits has train" in refusal(name, splits={"train": None})
    assert "needs long codes, and the algorithm's encoder has none; leave _long out" in refusal(
        "probe1nn10k_long_validation"
    )
    assert "probesvm has no truncation and no rounding; leave it out" in refusal(
        "probesvm10k_validation_psi0.5_floored"
    )
    assert "probe1nn is scored on images that it does not learn from, as in probe1nn10k_validation" in refusal(
        "probe1nn10k"
    )


@pytest.mark.parametrize(("preset", "long"), [("mnist32_alae", True), ("mnist32_style_alae", False)])
def test_long_codes_are_those_of_encoders_that_have_a_layer_before_the_code(preset: str, long: bool) -> None:
    with torch.device("meta"):
        assert offered(presets.load(preset).algorithm.build())["encodes_long"] is long


def test_how_they_were_taken_is_told_in_words() -> None:
    expected = "10,000 long codes of the train split, scored on the validation split"
    assert describe(parse("probesvm10k_long_validation")) == expected
    assert describe(parse("probe1nn2k_test")) == "2,000 codes of the train split, scored on the test split"
    assert describe(parse("ls_w")) == "200,000 samples, attributes in W"
