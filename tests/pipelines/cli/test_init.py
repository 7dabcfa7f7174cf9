"""`alae init` on photos without labels, as in docs/start.md: the file loads and fits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import presets
from pipelines.cli import main
from pipelines.cli.init import Machine, init
from pipelines.experiment import Experiment
from pipelines.training import preflight
from tests.support.commands import refused

pytestmark = pytest.mark.slow


def photos(folder: Path, seed: int = 0) -> None:
    """Forty JPEGs of 20x24 px."""
    folder.mkdir()
    for index, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (40, 20, 24, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{index}.jpg")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: `one` is a dataset of 16 px without labels."""
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    assert main.main(["pack", "photos", "one", "--resolution", "16", "--validation", "0.1"]) == 0
    return tmp_path


def fits(file: Path) -> Experiment:
    experiment = presets.load(str(file))
    preflight.check(experiment)
    return experiment


def test_a_file_for_unlabelled_photos_passes_preflight(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["init", "from_photos", "one", "--hours", "0.5"]) == 0
    assert "next: alae train from_photos.py" in capsys.readouterr().out
    experiment = fits(here / "from_photos.py")
    assert (experiment.name, experiment.algorithm.resolution, experiment.algorithm.channels) == ("from_photos", 16, 3)
    assert experiment.evaluation.extractor == "pixels" and experiment.scaling.gpus_per_worker == 0
    text = (here / "from_photos.py").read_text()
    assert "is an estimate" in text and "# Side of the generated images in pixels." in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_length_follows_the_hours_and_the_workers_the_machine(here: Path) -> None:
    short = fits(init("short", "one", hours=1, machine=Machine(2, 0)))
    long = fits(init("long", "one", hours=3, machine=Machine(2, 0)))
    assert long.schedule.total_nimg == pytest.approx(3 * short.schedule.total_nimg, rel=0.02)
    assert [fits(init(f"cpus{cpus}", "one", machine=Machine(cpus, 0))).scaling.workers for cpus in (1, 2, 4)] == [
        1,
        2,
        4,
    ]


def test_another_algorithm_is_chosen_and_one_that_does_not_fit_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fits(init("mlp", "one", algorithm="alae")).algorithm.kind == "alae"
    message = refused(capsys, "init", "other", "one", "--algorithm", "munit")
    assert "--algorithm=munit does not fit 1 domain of 16 px; use style_alae or " in message
    assert "mlp.py is there already" in refused(capsys, "init", "mlp", "one")
    assert not (here / "other.py").exists()


def test_two_domains_get_a_translator(here: Path) -> None:
    photos(here / "sketches", seed=1)
    assert (
        main.main(["pack", "sketches", "two", "--second", "photos", "--resolution", "16", "--validation", "0.1"]) == 0
    )
    experiment = fits(init("translator", "two", machine=Machine(2, 0)))
    assert experiment.domains == 2 and experiment.algorithm.resolution == 16
