"""Duplicates in a dataset are found, counted and listed, but never removed."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.data.describe import describe
from pipelines.data.format.pyramid import pyramid
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.duplicates import Pair, content_hashes, difference_hashes, find_duplicates
from pipelines.data.pack.pack import pack
from tests.support.packed import all_rows


def scenes(count: int, side: int = 64) -> np.ndarray:
    """Smooth random colours like those of photographs, uint8 [count, side, side, 3]."""
    random = np.random.default_rng(0)
    coarse = [Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)) for _ in range(count)]
    return np.stack([np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)) for image in coarse])


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The image after saving it as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file))


def found(images: np.ndarray) -> list[Pair]:
    levels = pyramid(images)
    content = np.frombuffer(content_hashes(images).buffers()[1], np.uint64)
    return find_duplicates(content, difference_hashes(levels), levels[4])


def test_the_same_pixels_are_exact_duplicates_of_the_first() -> None:
    images = scenes(6)
    assert found(images[[0, 1, 2, 1, 3, 1]]) == [Pair(3, 1, "exact"), Pair(5, 1, "exact")]


@pytest.mark.parametrize("quality", [95, 85, 75, 60])
def test_images_saved_again_as_jpeg_are_near_duplicates(quality: int) -> None:
    images = scenes(40)
    again = np.stack([jpeg(image, quality) for image in images])
    pairs = found(np.concatenate([images, again]))
    assert pairs == [Pair(40 + row, row, "near") for row in range(40)]


def test_images_scaled_down_and_up_are_near_duplicates() -> None:
    images = scenes(20, 128)
    small = [Image.fromarray(image).resize((90, 90), Image.Resampling.LANCZOS) for image in images]
    again = np.stack([np.asarray(image.resize((128, 128), Image.Resampling.LANCZOS)) for image in small])
    assert len(found(np.concatenate([images, again]))) == 20


def test_different_images_are_no_duplicates() -> None:
    assert found(scenes(300)) == []


def test_a_mirrored_or_recoloured_image_is_no_duplicate() -> None:
    (image,) = scenes(1)
    assert found(np.stack([image, image[:, ::-1], image[:, :, ::-1], 255 - image])) == []


def test_flat_images_hash_alike_and_differ_by_their_colour_alone() -> None:
    flat = [np.full((16, 16, 3), value, np.uint8) for value in (0, 3, 20, 255)]
    assert set(difference_hashes(pyramid(np.stack(flat)))) == {0}
    assert found(np.stack(flat)) == [Pair(1, 0, "near")]


def test_images_that_differ_only_within_a_cell_of_the_hash_cannot_be_distinguished() -> None:
    """A limit of the method: fine textures with equal means have equal hashes."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    stripes = np.indices((64, 64))[0] % 2 * 255
    pair = np.stack([board, stripes]).astype(np.uint8)[..., None]
    assert [each.kind for each in found(pair)] == ["near"]


def test_the_hash_has_a_bit_for_each_cell_whose_right_neighbour_is_brighter() -> None:
    grid = np.zeros((1, 8, 8, 1), np.uint8)
    grid[0, 0, 1] = 3  # more than two levels brighter than the cell before it
    grid[0, 7, 7] = 2  # exactly two levels do not count
    assert difference_hashes(pyramid(grid)) == [np.uint64(1) << np.uint64(63)]


def test_every_resolution_and_gray_images_have_a_hash() -> None:
    for side in (4, 8, 32, 128):
        for channels in (1, 3):
            images = scenes(3, 128)[:, :side, :side, :channels]
            hashes = difference_hashes(pyramid(np.ascontiguousarray(images)))
            assert hashes.shape == (3,) and hashes.dtype == np.uint64


def test_crowds_of_nearly_one_hash_are_searched_in_bounded_time_and_lose_no_exact_duplicate() -> None:
    random = np.random.default_rng(0)
    content = random.permutation(np.repeat(np.arange(5000, dtype=np.uint64), 2))
    coarsest = random.integers(0, 256, (10000, 4, 4, 1), np.uint8)
    pairs = find_duplicates(content, np.zeros(10000, np.uint64), coarsest)
    assert sum(pair.kind == "exact" for pair in pairs) == 5000


def test_a_packing_counts_and_lists_duplicates_over_all_shards_and_splits(tmp_path: Path) -> None:
    images = scenes(30)
    (tmp_path / "images").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "images" / f"{index:02d}.png")
    Image.fromarray(images[4]).save(tmp_path / "images" / "copy.png")
    Image.fromarray(images[9]).save(tmp_path / "images" / "again.jpg", quality=85)
    options = {"rows_per_group": 2, "rows_per_shard": 4, "validation_fraction": 0.3}
    report = pack(str(tmp_path / "images"), str(tmp_path / "d"), **options)  # type: ignore[arg-type]
    assert report.manifest.duplicates == {"exact": 1, "near": 1}
    assert sum(report.rows.values()) == 32
    listed = [json.loads(line) for line in (tmp_path / "d" / "duplicates.jsonl").read_text().splitlines()]
    pairs = {(frozenset((entry["name"], entry["same_as"])), entry["kind"]) for entry in listed}
    assert pairs == {(frozenset(("04.png", "copy.png")), "exact"), (frozenset(("09.png", "again.jpg")), "near")}
    dataset = Dataset.open(report.dest)
    order = [name for split in ("train", "validation") for name in ids(dataset, split)]
    assert all(order.index(entry["same_as"]) < order.index(entry["name"]) for entry in listed)
    assert "duplicates  1 exact, 1 near, listed in duplicates.jsonl" in describe(report.dest)


def ids(dataset: Dataset, split: str) -> list[str]:
    return dataset.split(split).ids(all_rows(dataset.split(split)))
