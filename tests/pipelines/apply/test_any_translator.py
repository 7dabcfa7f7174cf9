"""`alae translate`, metrics and pages from a checkpoint of every algorithm of two domains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alae_core import images
from alae_core.capabilities import Attends, DrawsStyles, Translates
from pipelines import presets
from pipelines.apply.translate import How, translate
from pipelines.evaluation.loading import load_subject
from pipelines.evaluation.validation import evaluate_checkpoint
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs.evaluations import read_evaluations
from tests.support import tiny
from tests.support.packed import pack_two_domains
from tests.support.translators import one_preset_of_each

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    return pack_two_domains(tmp_path_factory.mktemp("domains"), (60, 40), 64, validation_fraction=0.25)


@pytest.fixture(scope="module", params=one_preset_of_each().values())
def experiment(request: pytest.FixtureRequest, pair: str) -> Experiment:
    """Shrunk experiments: the first preset of each algorithm of two domains."""
    return override(tiny.brief(presets.load(request.param)), [f"data.path={pair}", "evaluation.metrics=null"])


@pytest.fixture(scope="module")
def url(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with a checkpoint after two iterations."""
    state = tiny.build(experiment)
    tiny.train(state, experiment, until=2 * tiny.BATCH)
    return str(tiny.checkpointed(tmp_path_factory.mktemp("run"), state, experiment))


@pytest.fixture
def photos(experiment: Experiment, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number, sides in enumerate(((65, 90), (64, 64))):
        channels = experiment.algorithm.channels
        pixels = np.random.default_rng(number).integers(0, 256, (*sides, channels), np.uint8)
        Image.fromarray(pixels.squeeze()).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def translated(url: str, photos: Path, out: Path, **how: Any) -> dict[str, np.ndarray]:
    done = translate(url, [str(photos)], str(out), How(**how))
    assert not done.rejected
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(out.iterdir())}


@pytest.mark.parametrize("to", ["a", "b"])
def test_images_of_any_size_are_translated_into_either_domain_with_all_that_the_algorithm_offers(
    url: str, photos: Path, tmp_path: Path, to: str
) -> None:
    algorithm = load_subject(url)[1].algorithm
    assert isinstance(algorithm, Translates)
    styles = {"styles": 2} if isinstance(algorithm, DrawsStyles) else {}
    found = translated(url, photos, tmp_path / "out", to=to, grid=True, **styles)
    expected = {"0_0", "1_0", "grid"} | ({"0_1", "1_1"} if styles else set())
    expected |= {"0_attention", "1_attention"} if isinstance(algorithm, Attends) else set()
    assert found.keys() == expected
    sides = {found[name].shape[:2] for name in ("0_0", "1_0")}
    assert all(side % algorithm.step == 0 for shape in sides for side in shape)
    assert algorithm.side or len(sides) == 2
    again = translated(url, photos, tmp_path / "again", to=to)
    np.testing.assert_array_equal(again["1_0"], found["1_0"])


def test_a_translation_is_the_averaged_networks_own(url: str, photos: Path, tmp_path: Path) -> None:
    _, subject, _ = load_subject(url)
    algorithm, photo = subject.algorithm, photos / "1.png"
    how = {"example": str(photo)} if isinstance(algorithm, DrawsStyles) else {}
    found = translated(url, photos, tmp_path / "out", to="b", **how)["1_0"]
    real = images.to_float(torch.from_numpy(np.asarray(Image.open(photo)).copy())[None])
    with torch.no_grad():
        style = algorithm.style_of(subject.networks, real, 1) if isinstance(algorithm, DrawsStyles) else None
        made = subject.translated(real, 1, 0, style=style)
    assert np.abs(found.astype(int) - images.to_uint8(made).numpy()[0]).max() <= 1


def test_styles_are_taken_where_they_are_drawn_and_refused_elsewhere(url: str, photos: Path, tmp_path: Path) -> None:
    algorithm = load_subject(url)[1].algorithm
    example = {"to": "b", "example": str(photos / "1.png")}
    if isinstance(algorithm, DrawsStyles):
        given = translated(url, photos, tmp_path / "out", **example)
        other = translated(url, photos, tmp_path / "other", to="b", example=str(photos / "0.png"))
        assert given.keys() >= {"0_0", "1_0"} and (given["0_0"] != other["0_0"]).any()
        return
    for how in (example, {"to": "b", "styles": 2}, {"to": "b", "shared": True}):
        with pytest.raises(
            ValueError, match="makes only one translation of an image; leave out styles, example and shared"
        ):
            translated(url, photos, tmp_path / "out", **how)


def test_a_checkpoint_is_measured_and_drawn_in_both_directions(url: str) -> None:
    run = str(Path(url).parent)
    metrics = evaluate_checkpoint(run, url)
    algorithm = load_subject(url)[1].algorithm
    pages = {"reals", "reconstructions", "translations_to"}
    pages |= {"guided_to"} if isinstance(algorithm, DrawsStyles) else set()
    pages |= {"attention"} if isinstance(algorithm, Attends) else set()
    (evaluation,) = read_evaluations(run)
    assert evaluation.figures.keys() == {f"{page}_{domain}" for page in pages for domain in "ab"}
    assert all(Path(run, figure).exists() for figure in evaluation.figures.values())
    for domain in "ab":
        assert any(name.endswith(f"_to_{domain}") for name in metrics)
        assert metrics[f"eval/reconstruction_l1_{domain}"] > 0
