"""Packing of two domains: from folders, two sources, or halves; previews, checks, and continued packings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data.describe import describe
from pipelines.data.domains import open_datasets
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.domains import pack_domains, preview_domains
from pipelines.data.pack.pack import PackReport, pack
from pipelines.data.verify import verify
from tests.support.packed import all_rows, colours, files_of, flip_a_byte, image_folder

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"rows_per_group": 2, "rows_per_shard": 4}
FOLDERS = {"trainA": 9, "trainB": 7, "testA": 3, "testB": 2}


@pytest.fixture
def folders(tmp_path: Path) -> str:
    """Folders in CycleGAN's form with different images of 16 px."""
    (tmp_path / "horse2zebra").mkdir()
    for start, (name, count) in enumerate(FOLDERS.items()):
        image_folder(tmp_path / "horse2zebra" / name, colours()[10 * start : 10 * start + count])
    return str(tmp_path / "horse2zebra")


def images_of(dest: str, split: str) -> dict[str, np.ndarray]:
    """The finest images of a split, keyed by name."""
    found = Dataset.open(dest).split(split)
    return dict(zip(found.ids(all_rows(found)), found.read(16, all_rows(found)), strict=True))


def rows(reports: Sequence[PackReport]) -> list[dict[str, int]]:
    return [report.rows for report in reports]


def save(folder: Path, images: dict[str, np.ndarray]) -> str:
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return str(folder)


# --- round trips -------------------------------------------------------------------------------------


def test_folders_become_two_datasets_with_the_test_images_as_validation(folders: str, tmp_path: Path) -> None:
    reports = pack_domains(folders, str(tmp_path / "d"), domains="folders", **SMALL)
    assert rows(reports) == [{"train": 9, "validation": 3}, {"train": 7, "validation": 2}]
    assert [report.dest for report in reports] == [f"{tmp_path}/d/a", f"{tmp_path}/d/b"]
    assert [dataset.label_count for dataset in open_datasets(str(tmp_path / "d"), 2)] == [0, 0]
    for start, (folder, count) in enumerate(FOLDERS.items()):
        split = "train" if folder.startswith("train") else "validation"
        found = images_of(f"{tmp_path}/d/{folder[-1].lower()}", split)
        assert len(found) == count
        for number in range(count):
            name = f"{folder[:-1]}/{number:03d}.png"
            np.testing.assert_array_equal(found[name], colours()[10 * start + number])


def test_two_sources_of_any_kind_become_two_datasets_of_one_depth(tmp_path: Path) -> None:
    np.savez(tmp_path / "gray.npz", images=colours(6)[..., 0])
    other = image_folder(tmp_path / "colour", colours(4, 40))
    reports = pack_domains(str(tmp_path / "gray.npz"), str(tmp_path / "d"), second=other, **SMALL)
    manifests = [report.manifest for report in reports]
    assert [(each.resolution, each.channels) for each in manifests] == [(16, 3), (16, 3)]
    assert [each.source for each in manifests] == [str(tmp_path / "gray.npz"), other]


def test_halves_of_one_image_have_one_name_and_the_same_are_held_out(tmp_path: Path) -> None:
    wide = {
        f"{'val' if k % 3 == 0 else 'train'}/{k}.png": np.hstack([colours()[k], colours()[k + 20]]) for k in range(9)
    }
    reports = pack_domains(save(tmp_path / "images", wide), str(tmp_path / "d"), domains="side_by_side", **SMALL)
    assert rows(reports) == [{"train": 6, "validation": 3}] * 2
    for split in ("train", "validation"):
        left, right = (images_of(report.dest, split) for report in reports)
        assert left.keys() == right.keys() == {name for name in wide if name.startswith(split[:3])}
        for name, image in left.items():
            np.testing.assert_array_equal(np.hstack([image, right[name]]), wide[name])


def test_images_of_odd_width_are_rejected_in_both_domains_with_the_reason(tmp_path: Path) -> None:
    wide = {"1.png": colours(1, 32)[0], "2.png": colours(1, 33)[0]}
    source = save(tmp_path / "images", wide)
    for report in pack_domains(source, str(tmp_path / "d"), domains="side_by_side", max_rejected_fraction=0.5):
        assert json.loads((Path(report.dest) / "rejected.jsonl").read_text()) == {
            "name": "2.png",
            "reason": "its width of 33 px is odd, so it cannot hold two images side by side",
        }


def test_sources_of_the_same_names_hold_out_the_same_and_keep_their_fraction(tmp_path: Path) -> None:
    sources = [image_folder(tmp_path / name, colours(20)) for name in "xy"]
    reports = pack_domains(sources[0], str(tmp_path / "d"), second=sources[1], validation_fraction=0.25, seed=3)
    names = [images_of(report.dest, "validation").keys() for report in reports]
    assert names[0] == names[1] and len(names[0]) == 5
    assert [report.manifest.validation_fraction for report in reports] == [0.25, 0.25]


def test_counterparts_are_held_out_together_where_only_some_have_one(tmp_path: Path) -> None:
    first = save(tmp_path / "x", {f"{k:02d}.png": image for k, image in enumerate(colours(20))})
    second = save(tmp_path / "y", {f"{k:02d}.png": image for k, image in enumerate(colours(30)) if k >= 10})
    reports = pack_domains(first, str(tmp_path / "d"), second=second, validation_fraction=0.2)
    names = [set(images_of(report.dest, "validation")) for report in reports]
    common = {f"{k:02d}.png" for k in range(10, 20)}
    assert names[0] & common == names[1] & common
    assert [len(names[0] & common), len(names[0]), len(names[1])] == [2, 4, 4]


# --- nearly constant images --------------------------------------------------------------------------


def almost_white() -> dict[str, np.ndarray]:
    """Images by name: a constant colour with rounding errors, and white with one gray stroke, among others."""
    noise, stroke = np.full((2, 16, 16, 3), 255, np.uint8)
    noise[:, :, 1] = 7
    noise[::3] -= 1
    stroke[4, 2:6] = 200
    return {"noise.png": noise, "stroke.png": stroke} | {f"{k}.png": image for k, image in enumerate(colours(6))}


def test_images_without_content_are_rejected_of_domains_and_kept_of_one_dataset(tmp_path: Path) -> None:
    source = save(tmp_path / "x", almost_white())
    second = image_folder(tmp_path / "y", colours(4))
    first, _ = pack_domains(source, str(tmp_path / "d"), second=second, max_rejected_fraction=0.2)
    entry = json.loads((Path(first.dest) / "rejected.jsonl").read_text())
    assert entry["name"] == "noise.png"
    assert entry["reason"].startswith(
        "nearly constant: no channel deviates by more than 0.48 of 255, below min_deviation=0.5"
    )
    assert pack(source, str(tmp_path / "all")).rows == {"train": 8}


def test_the_bound_of_content_can_be_chosen_for_one_dataset_and_for_two(tmp_path: Path) -> None:
    source = save(tmp_path / "x", almost_white())
    options: dict[str, Any] = {"max_rejected_fraction": 0.5}
    assert pack(source, str(tmp_path / "one"), min_deviation=40, **options).rows == {"train": 6}
    reports = pack_domains(source, str(tmp_path / "d"), second=source, min_deviation=0.0, **options)
    assert rows(reports) == [{"train": 8}, {"train": 8}]


def test_too_many_images_without_content_stop_the_packing_with_the_reason(tmp_path: Path) -> None:
    source = save(tmp_path / "x", almost_white())
    with pytest.raises(ValueError, match=r"1 of 8 images are unusable, .*: noise\.png \(nearly constant: .*raise"):
        pack_domains(source, str(tmp_path / "d"), second=source)


# --- interrupted, finished, refused ------------------------------------------------------------------


class InterruptedPackingError(Exception):
    """A stand-in for any external interruption of a packing."""


@pytest.mark.parametrize("after", [5, 14])
def test_an_interrupted_packing_goes_on_and_ends_the_same(folders: str, tmp_path: Path, after: int) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= after:
            raise InterruptedPackingError

    options: dict[str, Any] = {"domains": "folders", **SMALL}
    with pytest.raises(InterruptedPackingError):
        pack_domains(folders, str(tmp_path / "d"), progress=interrupt, **options)
    with pytest.raises(ValueError, match=r"d/[ab] is (not fully|no) packed"):
        verify(str(tmp_path / "d"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "d").rglob("*.parquet")}
    reports = pack_domains(folders, str(tmp_path / "d"), **options)
    assert reports[0].already_done == (after > 12) and not reports[1].already_done
    assert before and all(path.stat().st_mtime_ns == time for path, time in before.items())
    pack_domains(folders, str(tmp_path / "whole"), **options)
    assert files_of(tmp_path / "d") == files_of(tmp_path / "whole")


def test_progress_counts_over_both_domains(folders: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    pack_domains(folders, str(tmp_path / "d"), domains="folders", progress=lambda *at: seen.append(at), **SMALL)
    assert seen[0] == (0, 21) and seen[-1] == (21, 21) and sorted(seen) == seen
    assert (12, 21) in seen


def test_a_finished_pair_is_left_alone_and_refused_with_other_options(folders: str, tmp_path: Path) -> None:
    pack_domains(folders, str(tmp_path / "d"), domains="folders")
    before = files_of(tmp_path / "d")
    assert all(each.already_done for each in pack_domains(folders, str(tmp_path / "d"), domains="folders"))
    with pytest.raises(ValueError, match=r"d/a holds a dataset .* min_deviation is 0\.5 there and 2 now"):
        pack_domains(folders, str(tmp_path / "d"), domains="folders", min_deviation=2)
    with pytest.raises(ValueError, match="the images, or the choice of held-out ones, are different"):
        pack_domains(folders, str(tmp_path / "d"), domains="side_by_side", resolution=8)
    with pytest.raises(ValueError, match=r"d holds other files \(a, b\) and no dataset"):
        pack(folders, str(tmp_path / "d"))
    assert files_of(tmp_path / "d") == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "two domains need either a second source or the domains of one source"),
        ({"domains": "folders", "second": "x"}, "give one of the two"),
        ({"domains": "halves"}, "domains='halves' is unknown; use folders, side_by_side, or the names of two folders"),
        ({"domains": "cat,CAT"}, "is unknown; use folders"),
        ({"domains": "folders", "validation_fraction": 0.1}, "a source that itself says which images are held out"),
        ({"domains": "side_by_side", "validation_fraction": -0.1}, "must be at least 0 and below 1"),
        ({"domains": "folders", "windows": 2, "square": "pad"}, "windows=2 has no meaning for square='pad'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    folders: str, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pack_domains(folders, str(tmp_path / "d"), **options)
    assert not (tmp_path / "d").exists()


def test_a_dataset_of_one_domain_is_not_packed_into(folders: str, packed: str) -> None:
    before = files_of(packed)
    with pytest.raises(ValueError, match=r"packed holds other files \(.*manifest\.json.*\) than two domains"):
        pack_domains(folders, packed, domains="folders")
    assert files_of(packed) == before


def test_an_error_in_the_second_domain_is_raised_before_the_first_is_packed(tmp_path: Path) -> None:
    sources = [image_folder(tmp_path / name, colours(count)) for name, count in (("x", 20), ("y", 1))]
    (tmp_path / "y" / "000.png").rename(tmp_path / "y" / "only.png")
    with pytest.raises(ValueError, match="of 1 images gives 0 for validation, 1 for training"):
        pack_domains(sources[0], str(tmp_path / "d"), second=sources[1], validation_fraction=0.1)
    assert not (tmp_path / "d").exists()


# --- previews and descriptions -----------------------------------------------------------------------


def test_both_domains_are_described_and_verified(folders: str, tmp_path: Path) -> None:
    pack_domains(folders, str(tmp_path / "d"), domains="folders", **SMALL)
    text = describe(str(tmp_path / "d"))
    assert f"{tmp_path}/d/a\n" in text and f"\n\n{tmp_path}/d/b\n" in text and "train 7, validation 2" in text
    seen: list[tuple[int, int]] = []
    assert verify(str(tmp_path / "d"), lambda *at: seen.append(at)) == []
    assert seen[-1] == (21, 21) and len(seen) == 3 + 1 + 2 + 1
    flip_a_byte(tmp_path / "d" / "b" / "train" / "shard_00001.parquet", 0, "r8")
    (tmp_path / "d" / "a" / "rejected.jsonl").write_text("{}\n")
    first, second = verify(str(tmp_path / "d"))
    assert first.startswith("a/rejected.jsonl lists 1 images") and second.startswith("b/train/shard_00001.parquet has")


def test_a_preview_describes_both_domains(folders: str) -> None:
    lines = preview_domains(folders, domains="folders", rows_per_shard=4).splitlines()
    assert [line.partition(": ")[2] for line in lines[::2]] == [
        "folder, domain A of 12 images",
        "folder, domain B of 9 images",
    ]
    assert all(
        line.startswith("at 16x16 px about") and line.endswith("in 3 shards of up to 4 images") for line in lines[1::2]
    )
