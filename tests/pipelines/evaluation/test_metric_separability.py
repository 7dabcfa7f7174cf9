"""Linear separability of a generator whose attributes are half-spaces in W, but not in Z."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alae_core.images import to_uint8
from alae_core.schedule import Level
from pipelines import presets
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import planes, requirements, runner
from pipelines.evaluation.features import attributes
from pipelines.evaluation.features.attributes import ensure_attributes
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from tests.support import tiny
from tests.support.attributes import SIDE, bars, packed_bars
from tests.support.coded import Coded

CONFIG = EvaluationConfig()
NAMES = ("ls1.5k_w", "ls1.5k_z")


class Crossed(nn.Module):
    """w_0 = z_0 z_1, whose sign is an exclusive or of half-spaces; the other components equal those of z."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([z[:, :1] * z[:, 1:2], z[:, 1:]], 1)


class Bars(nn.Module):
    """Image of a bar, vertical if w_0 > 0, on a background that is bright if w_2 > 0."""

    def forward(self, w: Tensor) -> Tensor:
        images = (20 + 60 * (w[:, 2] > 0).float()).view(-1, 1, 1).repeat(1, SIDE, SIDE)
        images[:, 3:5] = 220
        down = w[:, 0] > 0
        images[down] = images[down].transpose(1, 2)
        return images.unsqueeze(1) / 127.5 - 1


def subject() -> Subject:
    algorithm: Any = Coded(4)
    level = Level(index=1, resolution=SIDE, blend=1.0, batch_size=8, lr=1e-3)
    networks = {"mapping": Crossed(), "generator": Bars()}
    return Subject(algorithm=algorithm, networks=networks, level=level, channels=1, seed=0)


def measured(dataset: Dataset, *names: str, shards: int = 1) -> dict[str, Any]:
    found = runner.measure(names, subject(), (dataset,), CONFIG, shards)
    return {key: estimate for each in found for key, estimate in each.estimates.items()}


def test_half_spaces_of_w_are_separated_there_and_leave_a_bit_in_z(barred: Dataset) -> None:
    found = measured(barred, *NAMES)
    in_w, in_z = (found[name] for name in NAMES)
    assert 1.0 <= in_w.value < 1.1 and 1.8 < in_z.value < 2.1
    assert 0 < in_z.standard_error < 0.1 and in_z.count == 1500
    assert in_z.notes[0].startswith("conditional entropies in bits: down 0.9") and "bright 0" in in_z.notes[0]
    assert in_z.notes[1].startswith("labelled by a classifier of 2 attributes, correct for ")


def test_the_score_is_that_of_the_images_their_labels_and_their_codes(barred: Dataset) -> None:
    drawn = [subject().batch(number, 250, purpose="coded samples") for number in range(2)]
    z = torch.cat([batch.noise("z", 4) for batch in drawn])
    w = Crossed()(z)
    found = ensure_attributes(barred)
    probabilities = found.extractor.classes(to_uint8(Bars()(w))).numpy()
    for name, codes in (("ls0.5k_z", z), ("ls0.5k_w", w)):
        expected = planes.separability(codes.numpy(), probabilities, found.accuracies)
        assert measured(barred, name)[name] == expected


@pytest.mark.parametrize("shards", [2, 4])
def test_it_is_the_same_from_any_number_of_shards(barred: Dataset, shards: int) -> None:
    assert measured(barred, *NAMES, shards=shards) == measured(barred, *NAMES)


def test_images_are_drawn_once_for_both_spaces(barred: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    draw = Bars.forward
    monkeypatch.setattr(Bars, "forward", lambda self, w: made.append(len(w)) or draw(self, w))
    measured(barred, *NAMES)
    assert sum(made) == 1500


def test_the_record_names_the_classifier_s_weights(barred: Dataset) -> None:
    (found,) = runner.measure(("ls0.5k_w",), subject(), (barred,), CONFIG)
    assert found.weights == ensure_attributes(barred).extractor.digest


def test_only_the_surer_half_of_the_images_counts() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((400, 2))
    sure = np.arange(400) % 2 == 0
    labels = np.where(sure, codes[:, 0] > 0, rng.integers(0, 2, 400) > 0)
    probabilities = np.where(labels, 0.6, 0.4) + np.where(sure, np.where(labels, 0.3, -0.3), 0.0)
    found = planes.separability(codes, probabilities[:, None], {"a": None})
    assert found.value < 1.1
    assert found.notes[1] == "labelled by a classifier of 1 attributes of unknown accuracy"
    assert planes.separability(codes, 1 - np.abs(0.5 - probabilities[:, None]), {"a": None}).value == 1.0


def test_an_attribute_of_one_value_counts_as_separated_and_few_images_are_noted() -> None:
    codes = np.random.default_rng(0).standard_normal((60, 4))
    probabilities = np.stack([np.full(60, 0.9), 1 / (1 + np.exp(-9 * codes[:, 0]))], 1)
    found = planes.separability(codes, probabilities, {"always": 1.0, "half": 0.9})
    assert found.value == pytest.approx(1.0)
    assert "all confident images have the same value of always, which counts as 0 bits" in found.notes
    assert found.notes[-1].startswith("30 images for codes of 4 dimensions are few: planes fit random labels")


def test_the_classifier_is_trained_beforehand_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(attributes, "ensure_attributes", lambda dataset: asked.append(dataset.url))
    dataset = packed_bars(tmp_path, **{name: bars(20)[name] for name in ("images", "down")})
    requirements.prepare(["fd_pixels1k"], [dataset])
    assert asked == []
    requirements.prepare(["fd_pixels1k", "ls_w"], [dataset])
    assert asked == [dataset.url]


def test_what_the_codes_of_separability_are_not_is_refused() -> None:
    made = SimpleNamespace(url="faces", resolution=8, label_count=0)
    made.manifest = SimpleNamespace(splits={"train": None}, attributes={"age": "float64"})
    check: dict[str, Any] = {"config": CONFIG, "datasets": [cast(Dataset, made)], "encodes": False}
    with pytest.raises(ValueError, match="ls_w needs attributes: faces has no attributes of type bool or int64 to"):
        requirements.check(["ls_w"], **check)
    made.manifest.attributes = {"old": "bool"}
    requirements.check(["ls_w", "ls5k_z"], **check)
    for name, unused in (
        ("ls_w_psi0.7", "truncation"),
        ("ls_z_mixed0.9", "mixing"),
        ("ls_w_validation", "split"),
        ("ls_lite0_5k_w", "extractor"),
    ):
        with pytest.raises(ValueError, match=f"{name} cannot be measured: ls has no {unused}; leave it out"):
            requirements.check([name], **check)


@pytest.mark.parametrize("preset", ["mnist32_alae", "mnist32_style_alae", "cartoon32_stylegan"])
def test_every_algorithm_with_codes_is_measured(preset: str, barred: Dataset) -> None:
    torch.manual_seed(0)
    config: Any = tiny.brief(presets.load(preset)).algorithm
    algorithm = replace(config, channels=1).build()
    level = subject().level
    other = Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=1, seed=0)
    for found in runner.measure(("ls0.2k_z", "ls0.2k_w"), other, (barred,), CONFIG):
        (estimate,) = found.estimates.values()
        assert estimate.count == 200 and 1 <= estimate.value <= 4
