"""An experiment file of `alae init` trains as it is, but for its length."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import presets
from pipelines.cli import main
from pipelines.cli.init import Machine, init
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.training import trainer
from tests.support.runs import prompt_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SHORTER = ("schedule.stable_kimg=0.064", "schedule.fade_kimg=0", "training.tick_kimg=0.064", "evaluation.samples=32")


def test_the_file_trains_on_unlabelled_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (40, 20, 24, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.jpg")
    assert main.main(["pack", "photos", "one", "--resolution", "16", "--validation", "0.1"]) == 0
    experiment = presets.load(str(init("trained_photos", "one", machine=Machine(2, 0))))
    with prompt_ray():
        outcome = trainer.train(override(experiment, SHORTER))
    newest = checkpoint.latest(outcome.run.url)
    assert newest is not None and newest.nimg == 192
    assert [found.nimg for found in outcome.evaluations()] == [192]
