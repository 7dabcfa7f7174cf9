"""`alae translate`: the files that it writes, the sizes that it accepts, and its errors; in one process, without Ray."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alae_core import images
from alae_core.algorithms import munit, nice_gan
from alae_core.optim import AdamConfig
from alae_core.state import TrainState
from pipelines import presets
from pipelines.apply.inputs import MOST_PIXELS, fitted
from pipelines.apply.translate import GRID_ROWS, How, translate
from pipelines.cli import main
from pipelines.evaluation.loading import load_subject
from pipelines.experiment import Experiment
from pipelines.runs import layout
from pipelines.sources.decoding import Pixels
from tests.support import tiny
from tests.support.commands import refused

NIMG = 4000
CONFIGS: dict[str, Any] = {
    "munit": munit.Config(resolution=16, latent=3, base_channels=4, hidden=8, residual_blocks=1, scales=2),
    "nice_gan": nice_gan.Config(resolution=48, base_channels=4, residual_blocks=1, discriminator_layers=6),
    "full": nice_gan.Config(resolution=48, base_channels=4, residual_blocks=1, discriminator_layers=6, form="full"),
}


@cache
def state_of(name: str) -> TrainState:
    return TrainState.build(CONFIGS[name], 0, AdamConfig())


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Write the folder of a run with one checkpoint, by default of MUNIT."""
    name = getattr(request, "param", "munit")
    template = presets.load("debug_mnist32_alae")
    schedule = replace(template.schedule, resolutions=(CONFIGS[name].resolution,), batch_size=(8,))
    experiment: Experiment = replace(template, algorithm=CONFIGS[name], schedule=schedule)
    state = state_of(name)
    state.nimg = NIMG
    tiny.checkpointed(tmp_path / "run", state, experiment)
    return str(tmp_path / "run")


def of(name: str) -> Any:
    return pytest.mark.parametrize("run", [name], indirect=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images: a square one, a wide one, and one whose sides are no multiples of 4."""
    folder = tmp_path / "photos"
    (folder / "far").mkdir(parents=True)
    for number, (name, sides) in enumerate({"one": (48, 48), "two": (48, 64), "far/one": (51, 62)}.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (*sides, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def written(out: Path) -> dict[str, Pixels]:
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(out.iterdir())}


def test_each_image_gets_its_styles_under_its_name_and_the_grid_shows_them(
    run: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["translate", run, "--to", "B", str(photos), "--styles", "2", "--grid", "--out", str(out)]
    assert main.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{run}/{layout.checkpoint_name(NIMG)} at 4 kimg",
        "far/one.png: 62x51 px taken as 60x48 px",
        f"7 files in {out}",
    ]
    found = written(out)
    assert {name: pixels.shape[:2] for name, pixels in found.items() if name != "grid"} == {
        **dict.fromkeys(("far_one_0", "far_one_1"), (48, 60)),
        **dict.fromkeys(("one_0", "one_1"), (48, 48)),
        **dict.fromkeys(("two_0", "two_1"), (48, 64)),
    }
    assert found["grid"].shape[2] == 3
    assert (found["one_0"] != found["one_1"]).any()


def test_translations_are_the_averaged_networks_own_by_styles_of_seed_image_and_number(
    run: str, photos: Path, tmp_path: Path
) -> None:
    translate(run, [str(photos / "one.png"), str(photos / "two.png")], str(tmp_path / "out"), How(to="b", styles=2))
    _, subject, _ = load_subject(f"{run}/{layout.checkpoint_name(NIMG)}")
    algorithm: Any = subject.algorithm
    source = torch.from_numpy(np.asarray(Image.open(photos / "two.png")).copy())[None]
    level = replace(subject.level, batch_size=1)
    real = images.to_float(source)
    batch = replace(subject.batch(1, 1, real, "translate"), images=(real, real[:0]), level=level, seed=0)
    with torch.no_grad():
        expected = images.to_uint8(algorithm.translate(subject.networks, batch, 1, count=2)).numpy()
    found = written(tmp_path / "out")
    for number in range(2):
        assert np.abs(found[f"two_{number}"].astype(int) - expected[number]).max() <= 1


def test_the_same_seed_gives_the_same_bytes_however_many_styles_and_images_there_are(
    run: str, photos: Path, tmp_path: Path
) -> None:
    def bytes_of(name: str, count: int, **how: Any) -> dict[str, bytes]:
        given = [str(photos / file) for file in ("one.png", "two.png")[:count]]
        translate(run, given, str(tmp_path / name), How(to="a", **how))
        return {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}

    many, few = bytes_of("many", 2, styles=3), bytes_of("few", 1, styles=1)
    assert few.keys() == {"one_0.png"} and few.items() <= many.items()
    assert bytes_of("other", 1, seed=1)["one_0.png"] != few["one_0.png"]


@pytest.mark.parametrize("shared", [True, False])
def test_shared_styles_are_the_same_for_all_images(run: str, photos: Path, tmp_path: Path, shared: bool) -> None:
    one = str(photos / "one.png")
    translate(run, [one, one], str(tmp_path / "out"), How(to="b", shared=shared))
    found = written(tmp_path / "out")
    assert found.keys() == {"one_0", "one-2_0"}
    assert np.array_equal(found["one_0"], found["one-2_0"]) == shared


def test_an_example_gives_all_images_its_style_whatever_the_seed(run: str, photos: Path, tmp_path: Path) -> None:
    one, two = (str(photos / name) for name in ("one.png", "two.png"))
    for name, how in {
        "first": How(to="b", example=one),
        "second": How(to="b", example=one, seed=9),
        "other": How(to="b", example=two),
    }.items():
        translate(run, [one], str(tmp_path / name), how)
    first, second, other = (written(tmp_path / name)["one_0"] for name in ("first", "second", "other"))
    assert np.array_equal(first, second) and (first != other).any()


@of("nice_gan")
def test_without_styles_an_image_has_one_translation_and_a_heat_map(run: str, photos: Path, tmp_path: Path) -> None:
    translate(run, [str(photos / "two.png")], str(tmp_path / "out"), How(to="b", grid=True))
    found = written(tmp_path / "out")
    assert {name: pixels.shape for name, pixels in found.items() if name != "grid"} == dict.fromkeys(
        ("two_0", "two_attention"), (48, 64, 3)
    )
    assert (found["two_0"] != found["two_attention"]).any() and "grid" in found


@of("full")
def test_networks_of_one_size_get_squares_of_it(run: str, photos: Path, tmp_path: Path) -> None:
    done = translate(run, [str(photos / "far")], str(tmp_path / "out"), How(to="a"))
    assert done.notes == ["one.png: 62x51 px taken as 48x48 px"]
    assert written(tmp_path / "out")["one_0"].shape == (48, 48, 3)


def test_a_broken_image_and_one_too_small_are_named_and_the_others_done(
    run: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "notes.txt").write_text("not asked for")
    Image.new("RGB", (7, 20)).save(photos / "thin.png")
    assert main.main(["translate", run, str(photos), "--to", "b", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "alae translate: broken.jpg is left out: not an image that Pillow can read",
        "alae translate: thin.png is left out: too small: 7x20 px, the networks need sides of 8 px or more",
    ]
    assert "notes.txt: skipped: not an image that Pillow can read, by its name" in told.out.splitlines()
    assert written(tmp_path / "out").keys() == {"far_one_0", "one_0", "two_0"}


def test_the_grid_shows_the_first_images_of_many(run: str, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for number in range(GRID_ROWS + 1):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "many" / f"{number:02d}.png")
    done = translate(run, [str(tmp_path / "many")], str(tmp_path / "out"), How(to="b", grid=True))
    assert len(done.files) == GRID_ROWS + 2
    grid = written(tmp_path / "out")["grid"]
    assert [value for value in np.unique(grid[:, 0, 0]) if value != 255] == list(range(GRID_ROWS))


# Sizes.


@pytest.mark.parametrize(
    ("given", "options", "taken"),
    [
        ((30, 45), {}, (28, 44)),
        ((32, 44), {}, (32, 44)),
        ((30, 45), {"size": 16}, (16, 24)),
        ((30, 45), {"size": 60}, (60, 88)),
        ((30, 45), {"side": 24}, (24, 24)),
    ],
)
def test_sides_are_cut_to_multiples_after_the_shorter_one_is_resized(
    given: tuple[int, int], options: dict[str, int], taken: tuple[int, int]
) -> None:
    for channels in (1, 3):
        assert fitted(np.zeros((*given, channels), np.uint8), 4, **options).shape == (*taken, channels)


def test_an_image_is_cut_at_its_centre() -> None:
    numbered = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 13, 1), np.uint8)
    assert fitted(numbered, 4)[:, 0, 0].tolist() == list(range(1, 9))


def test_an_image_of_too_many_pixels_is_taken_only_at_a_size_that_was_asked_for() -> None:
    large = np.zeros((8, MOST_PIXELS // 8 + 1, 1), np.uint8)
    with pytest.raises(ValueError, match=r"^too large: .* px is more than 4,194,304 pixels; give a size$"):
        fitted(large, 4)
    assert fitted(large, 4, size=8).shape[0] == 8


# Errors.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--to", "c"], "to=c is not a domain; give a or b"),
        (["--to", "b", "--styles", "0"], "styles=0 is too few; give 1 or more"),
        (["--to", "b", "--size", "4"], "size=4 is too small for the networks; give 8 or more"),
        (
            ["--to", "b", "--styles", "2", "--example", "x.png"],
            "styles are either drawn or taken from the example; leave out the",
        ),
        (["--to", "b", "--example", "none.png"], "none.png does not exist; give images, folders of images, or"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    run: str, photos: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    before = sorted(photos.rglob("*"))
    assert refused(capsys, "translate", run, str(photos), *options).startswith(f"alae translate: {sentence}")
    assert sorted(photos.rglob("*")) == before


@of("nice_gan")
@pytest.mark.parametrize("options", [["--styles", "2"], ["--shared"], ["--example", "x.png"]])
def test_styles_are_refused_where_there_are_none(
    run: str, photos: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    message = refused(capsys, "translate", run, str(photos), "--to", "b", *options)
    assert message == (
        "alae translate: nice_gan makes only one translation of an image; leave out styles, example and shared\n"
    )


@of("full")
def test_another_size_than_the_networks_own_is_refused(
    run: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, "translate", run, str(photos), "--to", "b", "--size", "64")
    assert "size=64: these networks accept only 48 px; leave the size out" in message


def test_an_example_that_cannot_be_used_is_named(
    run: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (6, 6)).save(small)
    for example, reason in ((small, "cannot be used: too small: 6x6 px"), (photos, "holds 3 images; give one")):
        message = refused(capsys, "translate", run, str(photos), "--to", "b", "--example", str(example))
        assert f"example {example} {reason}" in message


def test_images_are_never_written_where_they_are_read_from(
    run: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in (photos, photos / "one.png"):
        message = refused(capsys, "translate", run, str(given), "--to", "b", "--out", f"{photos}/../{photos.name}")
        assert "contains the images to translate; give another folder" in message


def test_a_missing_image_and_a_run_of_one_domain_are_refused(
    run: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"{photos}/none.png does not exist; give images" in refused(
        capsys, "translate", run, f"{photos}/none.png", "--to", "b"
    )
    experiment = presets.load("debug_mnist32_alae")
    state = TrainState.build(experiment.algorithm, 0, AdamConfig())
    tiny.checkpointed(tmp_path / "other", state, experiment)
    message = refused(capsys, "translate", str(tmp_path / "other"), str(photos), "--to", "b")
    assert message == ("alae translate: alae has one domain and cannot translate; give a run of two domains\n")
