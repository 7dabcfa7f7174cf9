"""Latent directions: the codes that they are found in, how they are stored, and the layout of their pages."""

import hashlib
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from alae_core.schedule import Level
from pipelines import presets
from pipelines.apply.directions import SHOWN, _changes, draw, find, slugs
from pipelines.cli import main
from pipelines.data.format.shards import Dataset
from pipelines.evaluation.features.attributes import binary_values
from pipelines.evaluation.pages import from_codes
from pipelines.evaluation.subject import Subject
from pipelines.experiment.override import override
from pipelines.pictures import grids
from pipelines.pictures.grids import THIN_PX, WIDE_PX
from tests.pipelines.evaluation.test_metric_separability import Bars, Crossed
from tests.support import tiny
from tests.support.attributes import SIDE, packed_bars
from tests.support.coded import Coded


class Halves(nn.Module):
    """Image whose upper half has the shade w_0 and whose lower half has the shade w_1."""

    def forward(self, w: Tensor) -> Tensor:
        return w.repeat_interleave(SIDE // 2, 1).view(-1, 1, SIDE, 1).expand(-1, 1, SIDE, SIDE)


class Encoding(Coded):
    """w_0 is the shade of the background, w_1 the brightness of the brightest row minus that of the brightest column."""

    def embed(self, networks: Any, batch: Any) -> Tensor:
        images = batch.images[0][:, 0]
        rows, columns = (images.mean(axis).amax(1) for axis in (2, 1))
        return torch.stack([images.flatten(1).amin(1), rows - columns], 1)


def subject(algorithm: Any, **networks: nn.Module) -> Subject:
    level = Level(index=1, resolution=SIDE, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm, networks=networks, level=level, channels=1, seed=0)


def encoding() -> Subject:
    return subject(Encoding(2), generator=Halves())


def generating() -> Subject:
    return subject(Coded(4), mapping=Crossed(), generator=Bars())


def shades(page: np.ndarray, top: int, left: int, size: int) -> list[int]:
    """Shades of the upper and the lower half of a tile, which are constant."""
    halves = page[top : top + size, left : left + size, 0].reshape(2, -1)
    assert (halves == halves[:, :1]).all()
    return halves[:, 0].tolist()


def byte(*values: float) -> list[int]:
    return [round((min(max(value, -1), 1) + 1) * 127.5) for value in values]


def test_real_images_have_directions_by_their_own_attributes_towards_the_second_value(barred: Dataset) -> None:
    found, source = find(encoding(), barred)
    assert source == "codes of 270 train images with their own attributes"
    assert found.keys() == {"down", "bright"}
    assert found["bright"].normal[0] > 0.7 and found["down"].normal[1] < -0.7
    for direction in found.values():
        assert float(direction.normal.norm()) == pytest.approx(1.0)
        assert direction.accuracy > 0.9 and direction.images == 270 and 0.4 < direction.share < 0.6


def test_the_change_is_what_an_attribute_adds_to_a_code_where_the_others_are_equal(barred: Dataset) -> None:
    found, _ = find(encoding(), barred, 100)
    split, rows = barred.split("train"), np.arange(100)
    real = split.read(SIDE, rows) / np.float32(127.5) - 1
    codes = Encoding(2).embed({}, SimpleNamespace(images=(torch.from_numpy(real).permute(0, 3, 1, 2),))).numpy()
    has = {name: np.unique(split.attribute(name, rows), return_inverse=True)[1].astype(float) for name in found}
    # Frisch and Waugh: regress the codes on the residual of this attribute given the other one.
    for name, other in (("down", "bright"), ("bright", "down")):
        left = has[name] - np.polyval(np.polyfit(has[other], has[name], 1), has[other])
        np.testing.assert_allclose(found[name].change, left @ codes / (left @ left), atol=1e-5)


def test_a_change_holds_the_attributes_that_come_along_though_the_planes_do_not() -> None:
    generator = np.random.default_rng(0)
    first = generator.random(4000) < 0.5
    second = np.where(generator.random(4000) < 0.9, first, ~first)
    codes = np.stack([2.0 * first, 3.0 * second, np.zeros(4000)], 1) + 0.1 * generator.normal(size=(4000, 3))
    labels = np.stack([first, second], 1).astype(np.int64)
    np.testing.assert_allclose(_changes(codes.astype(np.float32), labels), [[2, 0, 0], [0, 3, 0]], atol=0.02)
    labels[:1000, 0] = -1
    codes[:1000] += 100 * second[:1000, None]
    np.testing.assert_allclose(_changes(codes.astype(np.float32), labels), [[2, 0, 0], [0, 3, 0]], atol=0.02)


def test_without_an_encoder_they_are_those_of_samples_labelled_by_the_classifier(barred: Dataset) -> None:
    found, source = find(generating(), barred, 600)
    assert source == "the more confident half of 600 samples, labelled by the dataset's classifier"
    for name, number in (("down", 0), ("bright", 2)):
        assert found[name].normal.argmax() == found[name].normal.abs().argmax() == number
    assert all(direction.images == 300 and direction.accuracy > 0.8 for direction in found.values())


def test_each_row_is_the_real_image_its_reconstruction_and_the_steps_apart() -> None:
    real = torch.full((2, 1, SIDE, SIDE), 0.5)
    codes, direction = torch.tensor([[0.1, 0.2], [-0.3, 0.4]]), torch.tensor([0.2, 0.0])
    page = from_codes.edited(encoding(), codes, direction, real=real, steps=(-1.0, 0.0, 2.0))
    size = grids.PAGE_PX // (5 * SIDE) * SIDE
    thin, wide = size + THIN_PX, size + WIDE_PX
    lefts = np.cumsum([0, thin, wide, thin, thin]).tolist()
    assert page.shape == (2 * size + THIN_PX, lefts[-1] + size, 1)
    assert (page[:, lefts[2] - WIDE_PX : lefts[2]] == grids.PAPER).all()
    first, second = ([shades(page, top, left, size) for left in lefts] for top in (0, thin))
    assert first == [byte(0.5, 0.5), byte(0.1, 0.2), byte(-0.1, 0.2), byte(0.1, 0.2), byte(0.5, 0.2)]
    assert second[1:] == [byte(-0.3, 0.4), byte(-0.5, 0.4), byte(-0.3, 0.4), byte(0.1, 0.4)]


def test_without_real_images_a_row_is_the_sample_and_the_steps() -> None:
    page = from_codes.edited(encoding(), torch.zeros(1, 2), torch.tensor([0.0, 0.5]), steps=(1.0, 2.0))
    size = grids.PAGE_PX // (3 * SIDE) * SIDE
    assert page.shape == (size, 3 * size + WIDE_PX + THIN_PX, 1)
    lefts = (0, size + WIDE_PX, 2 * size + WIDE_PX + THIN_PX)
    assert [shades(page, 0, left, size) for left in lefts] == [byte(0, 0), byte(0, 0.5), byte(0, 1)]


def test_pages_of_another_form_are_refused() -> None:
    one, three = np.zeros((2, 1, SIDE, SIDE, 1), np.uint8)[0], np.zeros((3, SIDE, SIDE, 1), np.uint8)
    for images, moved, originals in ((three, np.concatenate([three, one]), None), (three, three, one)):
        with pytest.raises(ValueError, match="must hold the same number of images for each of"):
            grids.edited_page(images, moved, originals)


def test_a_page_shows_held_out_images_moved_by_changes(barred: Dataset) -> None:
    found, _ = find(encoding(), barred)
    page = draw(encoding(), barred, found)["bright"]
    columns = 2 + len(from_codes.STEPS)
    size = grids.PAGE_PX // (columns * SIDE) * SIDE
    assert page.shape == (SHOWN * size + (SHOWN - 1) * THIN_PX, columns * size + (columns - 2) * THIN_PX + WIDE_PX, 1)
    first = barred.split("validation").read(SIDE, np.array([0]))[0, :, :, 0]
    np.testing.assert_array_equal(page[: size : size // SIDE, : size : size // SIDE, 0], first)
    assert draw(generating(), barred, find(generating(), barred, 400)[0]).keys() == {"down", "bright"}


def test_an_attribute_that_too_few_images_have_is_left_out_with_a_warning(
    barred: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    rare = np.zeros(60, bool)
    rare[0] = True
    values = {"rare": (0, 1), **binary_values(barred)}
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("pipelines.evaluation.features.attributes.binary_values", lambda _: values)
        read = type(barred.split("train")).attribute
        patch.setattr(
            type(barred.split("train")),
            "attribute",
            lambda split, name, rows: rare[rows].tolist() if name == "rare" else read(split, name, rows),
        )
        found, _ = find(encoding(), barred, 60)
    assert found.keys() == {"down", "bright"}
    assert caplog.messages == ["attribute rare has no direction: too few of the 60 images have one of its values"]


def test_what_stands_for_a_damaged_image_does_not_have_its_attributes(barred: Dataset) -> None:
    dataset = Dataset.open(barred.url, "skip")
    dataset.split("train").replaced.update(range(30))
    found, _ = find(encoding(), dataset, 100)
    assert {direction.images for direction in found.values()} == {70}


def test_what_gives_no_direction_is_one_sentence(barred: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="19 images are too few to find directions; use 20 or more"):
        find(encoding(), barred, 19)
    images = barred.split("train").read(SIDE, np.arange(40))[..., 0]
    plain = packed_bars(tmp_path, images=images, third=np.arange(40) % 3)
    with pytest.raises(ValueError, match=r"no attribute of .* has both values in 10,000 images; use more images"):
        find(encoding(), plain)


def test_names_of_files_are_plain_and_different() -> None:
    assert slugs(dict.fromkeys(["a b", "a/b", "Größe-1"])) == {
        "a b": "attribute_a_b",
        "a/b": "attribute_a_b_1",
        "Größe-1": "attribute_Gr_e-1",
    }


def test_the_command_keeps_directions_description_and_pages_with_the_run(
    barred: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = override(presets.load("debug_mnist32_style_alae"), [f"data.path={barred.url}"])
    state = tiny.build(experiment)
    state.nimg = 4000
    run = tmp_path / "run"
    folder = tiny.checkpointed(run, state, experiment)
    assert main.main(["directions", str(run), "--images", "200"]) == 0
    printed = capsys.readouterr().out
    about = json.loads((run / "directions" / "000000004000.json").read_text())
    stored = (run / about["weights"]).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == about["sha256"]
    kept = safetensors.torch.load(stored)
    assert about["attributes"].keys() == {"down", "bright"}
    assert kept.keys() == {f"{part}/{name}" for part in ("normal", "change") for name in about["attributes"]}
    for name, known in about["attributes"].items():
        assert float(kept[f"normal/{name}"].norm()) == pytest.approx(1.0)
        assert float(kept[f"change/{name}"].norm()) == pytest.approx(known["length"])
    assert (about["nimg"], about["checkpoint"], about["space"]) == (4000, folder.name, "w")
    assert about["source"] == "codes of 200 train images with their own attributes"
    for name, known in about["attributes"].items():
        assert known["figure"] == f"figures/attribute_{name}_000000004000.png" and known["figure"] in printed
        assert Image.open(run / known["figure"]).size[0] > (2 + len(about["steps"])) * SIDE
    assert f"kept in {run}/directions/000000004000.json" in printed
    assert main.main(["directions", str(tmp_path)]) == 2
    assert "is neither a checkpoint nor a run" in capsys.readouterr().err
