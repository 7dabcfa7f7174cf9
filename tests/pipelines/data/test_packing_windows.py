"""Several squares per image: their positions, their order in the dataset, and their names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data.format.shards import Dataset
from pipelines.data.pack.order import split_orders
from pipelines.data.pack.pack import pack, preview
from pipelines.sources.decoding import Square, squared
from tests.support.packed import SMALL, all_rows, colours, files_of

CHUNKS = np.repeat(np.arange(50), 4)  # two hundred images


def ramp(height: int, width: int) -> np.ndarray:
    """An image whose pixels hold their position along the longer side."""
    along = np.arange(max(height, width), dtype=np.uint8)
    line = along[:, None] if height > width else along[None, :]
    return np.broadcast_to(line[:, :, None], (height, width, 1))


@pytest.mark.parametrize("square", ["shorter_side", "center_crop"])
@pytest.mark.parametrize(("windows", "starts"), [(1, [21]), (2, [0, 42]), (3, [0, 21, 42]), (4, [0, 14, 28, 42])])
@pytest.mark.parametrize("tall", [True, False])
def test_squares_lie_evenly_from_one_end_of_the_longer_side_to_the_other(
    square: Square, windows: int, starts: list[int], tall: bool
) -> None:
    image = ramp(50, 8) if tall else ramp(8, 50)
    found = [squared(image, 8, square, window, windows) for window in range(windows)]
    assert [each.shape for each in found] == [(8, 8, 1)] * windows
    assert [each[0, 0, 0] for each in found] == starts


def test_of_center_crop_the_shorter_side_stays_central() -> None:
    image = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None], (20, 40, 1))
    assert [squared(image, 8, "center_crop", window, 2)[0, 0, 0] for window in range(2)] == [6, 6]


@pytest.mark.parametrize("chunks", [None, CHUNKS])
def test_all_squares_of_an_image_are_in_one_split_and_stand_apart_in_it(chunks: np.ndarray | None) -> None:
    orders = split_orders(200, chunks, 0.2, seed=0, windows=3)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(orders.values()))), np.arange(600))
    images = {split: order // 3 for split, order in orders.items()}
    assert set(images["train"]).isdisjoint(images["validation"]) and len(images["validation"]) == 120
    assert (np.diff(images["train"]) == 0).mean() < 0.1


def test_the_same_images_are_held_out_whatever_the_number_of_squares() -> None:
    one, three = (split_orders(200, None, 0.2, seed=5, windows=windows)["validation"] for windows in (1, 3))
    assert set(one) == set(three // 3)


def test_images_that_the_source_holds_out_are_the_validation_split_in_the_order_of_the_seed() -> None:
    out = np.arange(200) % 7 == 0
    orders = split_orders(200, None, 0.0, seed=4, held_out=out)
    shuffled = np.random.Generator(np.random.PCG64(4)).permutation(200)
    np.testing.assert_array_equal(orders["validation"], [number for number in shuffled if number % 7 == 0])
    np.testing.assert_array_equal(orders["train"], [number for number in shuffled if number % 7])


def test_a_fraction_beside_a_source_that_says_what_is_held_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1 is not possible for a source that itself says"):
        split_orders(4, None, 0.1, seed=0, held_out=np.array([True, False, False, False]))
    with pytest.raises(ValueError, match="the source gives 4 for validation, 0 for training"):
        split_orders(4, None, 0.0, seed=0, held_out=np.ones(4, bool))


def long_images(folder: Path, count: int) -> str:
    """Images 16 px high and 48 px wide: three squares side by side."""
    folder.mkdir()
    for number in range(count):
        Image.fromarray(np.hstack(list(colours(3 * count)[3 * number : 3 * number + 3]))).save(folder / f"{number}.png")
    return str(folder)


@pytest.mark.slow
def test_nothing_of_a_long_image_is_lost_and_each_square_has_a_name(tmp_path: Path) -> None:
    source = long_images(tmp_path / "images", 6)
    report = pack(source, str(tmp_path / "d"), windows=3, validation_fraction=0.34, **SMALL)
    assert report.rows == {"train": 12, "validation": 6} and report.manifest.windows == 3
    squares = {}
    for split in map(Dataset.open(report.dest).split, report.rows):
        squares |= dict(zip(split.ids(all_rows(split)), split.read(16, all_rows(split)), strict=True))
    assert squares.keys() == {f"{number}.png#{window}" for number in range(6) for window in (1, 2, 3)}
    for name, pixels in squares.items():
        number, window = (int(part) for part in name.split(".png#"))
        np.testing.assert_array_equal(pixels, colours(18)[3 * number + window - 1])


@pytest.mark.slow
def test_squares_count_in_progress_previews_and_rejections(tmp_path: Path) -> None:
    source = long_images(tmp_path / "images", 6)
    (Path(source) / "2.png").write_bytes(b"broken")
    seen: list[tuple[int, int]] = []
    options: dict[str, Any] = {"windows": 2, "max_rejected_fraction": 0.2, **SMALL}
    pack(source, str(tmp_path / "d"), progress=lambda *at: seen.append(at), **options)
    assert seen[-1] == (12, 12)
    listed = [json.loads(line)["name"] for line in (tmp_path / "d" / "rejected.jsonl").read_text().splitlines()]
    assert listed == ["2.png#1", "2.png#2"]
    assert preview(source, windows=2, rows_per_shard=4).endswith("in 3 shards of up to 4 images")


@pytest.mark.slow
def test_labels_stay_with_every_square(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (5, 8, 24), np.uint8), labels=range(5)
    )
    split = Dataset.open(pack(str(tmp_path / "a.npz"), str(tmp_path / "d"), windows=2).dest).split("train")
    names = [int(name.partition("#")[0]) for name in split.ids(all_rows(split))]
    np.testing.assert_array_equal(split.labels(all_rows(split)), names)


@pytest.mark.slow
def test_datasets_and_unfinished_packings_from_before_there_were_windows_are_still_known(
    npz: str, packed: str, tmp_path: Path
) -> None:
    manifest = json.loads((Path(packed) / "manifest.json").read_text())
    assert (manifest.pop("windows"), manifest.pop("min_deviation")) == (1, 0.0)
    (Path(packed) / "manifest.json").write_text(json.dumps(manifest))
    assert pack(npz, packed, **SMALL).already_done

    def interrupt(done: int, total: int) -> None:
        if done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(npz, str(tmp_path / "d"), progress=interrupt, **SMALL)
    state = json.loads((tmp_path / "d" / "packing.json").read_text())
    for name in ("windows", "min_deviation"):
        del state["parameters"][name]
    (tmp_path / "d" / "packing.json").write_text(json.dumps(state))
    assert pack(npz, str(tmp_path / "d"), **SMALL).resumed_shards == 1
    (Path(packed) / "manifest.json").unlink(), (tmp_path / "d" / "manifest.json").unlink()
    assert files_of(packed) == files_of(tmp_path / "d")


@pytest.mark.slow
def test_other_windows_for_a_finished_dataset_are_refused(npz: str, packed: str) -> None:
    with pytest.raises(ValueError, match="windows is 1 there and 2 now"):
        pack(npz, packed, windows=2, **SMALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"windows": 0}, "windows=0 must be at least 1"),
        ({"windows": 3, "square": "pad"}, "windows=3 has no meaning for square='pad', which keeps the whole image"),
        ({"min_deviation": -1}, "min_deviation=-1 must be at least 0 and below 127.5 levels of 255"),
    ],
)
def test_windows_and_bounds_that_cannot_be_are_refused(
    npz: str, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pack(npz, str(tmp_path / "d"), **options)
    assert not (tmp_path / "d").exists()
