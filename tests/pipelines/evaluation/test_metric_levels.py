"""A metric that needs larger images than a level has is left out of that evaluation; the others are computed."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from alae_core.metrics.protocol_names import parse
from alae_core.schedule import Level
from pipelines import presets
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.evaluation import requirements, runner
from pipelines.evaluation.evaluate import table
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from pipelines.experiment.override import override
from pipelines.runs.evaluations import metrics_of

REASON = "it needs images of 8 px or more, and they have 4 px"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(folder / "a.npz", images=images)
    pack(str(folder / "a.npz"), str(folder / "packed"))
    return Dataset.open(str(folder / "packed"))


def subject(resolution: int) -> Subject:
    torch.manual_seed(0)
    algorithm = presets.load("debug_mnist32_style_alae").algorithm.build()
    level = Level(index=resolution.bit_length() - 3, resolution=resolution, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=1, seed=0)


@pytest.mark.parametrize("shards", [1, 3])
def test_similarity_is_left_out_at_four_pixels_with_a_warning_and_all_else_is_taken(
    dataset: Dataset, shards: int, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("msssim0.05k", "fd_pixels0.05k", "reciprocity0.05k")
    with caplog.at_level(logging.WARNING):
        found = runner.measure(names, subject(4), (dataset,), EvaluationConfig(), shards)
    assert [each.protocol.name for each in found] == list(names)
    assert [each.left_out for each in found] == [REASON, "", ""]
    assert [len(each.estimates) for each in found] == [0, 1, 1]
    assert caplog.messages == [f"msssim0.05k is left out of this evaluation: {REASON}"]
    assert not any("msssim" in key for key in metrics_of(found))


def test_the_record_and_the_table_say_why(dataset: Dataset) -> None:
    left, taken = runner.measure(("msssim0.05k", "fd_pixels0.05k"), subject(4), (dataset,), EvaluationConfig())
    assert left.record()["left_out"] == REASON and left.record()["estimates"] == {}
    assert left.record()["protocol"]["metric"] == "msssim" and "left_out" not in taken.record()
    assert table([left, taken]).splitlines()[-1].split() == ["msssim0.05k", "left", "out", *REASON.split()]
    assert table([left]) == f"msssim0.05k  left out  {REASON}"


def test_similarity_is_taken_from_eight_pixels_on(dataset: Dataset) -> None:
    found = runner.measure(("msssim0.05k",), subject(8), (dataset,), EvaluationConfig())
    assert found[0].left_out == "" and set(found[0].estimates) == {"msssim0.05k"}


@pytest.mark.parametrize(
    ("name", "resolution", "reason"),
    [
        ("msssim10k", 4, REASON),
        ("msssim10k", 8, ""),
        ("ppl_wend_face", 4, ""),
        ("ppl_wend_celeba", 256, ""),
        ("ppl_wend_celeba", 512, "images of 312 px after the crop do not shrink evenly to 256 px; resize them first"),
        ("fd_pixels5k", 4, ""),
    ],
)
def test_what_depends_on_the_resolution_is_known_before_anything_is_drawn(
    name: str, resolution: int, reason: str
) -> None:
    assert requirements.left_out(parse(name), resolution) == reason


def test_a_metric_that_no_level_allows_is_refused_on_the_driver(tiny_dataset: Path) -> None:
    experiment = override(presets.load("debug_mnist32_style_alae"), ["evaluation.metrics=msssim0.1k"])
    data = Dataset.open(str(tiny_dataset))
    requirements.check_experiment(experiment, [data])
    coarse = override(experiment, ["schedule.resolutions=4", "schedule.stable_kimg=1", "schedule.fade_kimg=0"])
    with pytest.raises(ValueError, match=f"msssim0.1k is undefined at every level of the schedule: {REASON}; leave it"):
        requirements.check_experiment(coarse, [data])
