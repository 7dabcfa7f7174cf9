"""Packing a source and reading it back: equal bytes each time, resumes, refusals, checks and descriptions."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.data.format.codec import Encoding
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.data.verify import verify
from pipelines.sources import open_source
from tests.support.packed import COUNT, SMALL, all_rows, colours, files_of, image_folder, striped_parquet

pytestmark = pytest.mark.slow

# --- round trips -------------------------------------------------------------------------------------


def test_every_image_comes_back_with_its_label_and_name(packed: str) -> None:
    split = Dataset.open(packed).split("train")
    rows = all_rows(split)
    ids = [int(name) for name in split.ids(rows)]
    assert sorted(ids) == list(range(COUNT)) and ids != sorted(ids)
    np.testing.assert_array_equal(split.read(16, rows), colours()[ids])
    np.testing.assert_array_equal(split.labels(rows), np.array(ids) % 10)
    assert Dataset.open(packed).label_count == 10


def test_a_folder_and_a_zip_of_the_same_files_give_the_same_shards(tmp_path: Path) -> None:
    folder = Path(image_folder(tmp_path / "images", colours(6)))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    one = pack(str(folder), str(tmp_path / "one"))
    two = pack(f"{folder}.zip", str(tmp_path / "two"))
    assert one.manifest.splits == two.manifest.splits
    split = Dataset.open(one.dest).split("train")
    ids = [int(Path(name).stem) for name in split.ids(all_rows(split))]
    np.testing.assert_array_equal(split.read(16, all_rows(split)), colours(6)[ids])
    assert Dataset.open(one.dest).label_count == 0
    assert set(split.labels(all_rows(split))) == {-1}


def test_class_folders_become_named_labels(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for label in ("cat", "dog"):
        image_folder(tmp_path / "images" / label, colours(2))
    dataset = Dataset.open(pack(str(tmp_path / "images"), str(tmp_path / "d")).dest)
    assert dataset.manifest.labels is not None
    assert dataset.manifest.labels.names == ("cat", "dog")
    split = dataset.split("train")
    names = {
        path.split("/")[0]: label
        for path, label in zip(split.ids(all_rows(split)), split.labels(all_rows(split)), strict=True)
    }
    assert names == {"cat": 0, "dog": 1}


def test_rows_may_be_asked_in_any_order_and_repeatedly(packed: str) -> None:
    split = Dataset.open(packed).split("train")
    everything = split.read(8, all_rows(split))
    rows = np.array([39, 0, 13, 0, 39, 12, 11])
    np.testing.assert_array_equal(split.read(8, rows), everything[rows])
    assert split.ids(rows) == [split.ids(all_rows(split))[row] for row in rows]
    assert split.read(8, np.array([], np.int64)).shape == (0, 8, 8, 3)


def test_each_coarser_column_is_the_exact_box_average_of_the_finer(npz: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", images=colours(3, 128))
    for source, finest in ((npz, 16), (str(tmp_path / "large.npz"), 128)):
        dest = pack(source, str(tmp_path / f"d{finest}")).dest
        split = Dataset.open(dest).split("train")
        size = finest
        while size > 4:
            finer, coarser = (split.read(r, all_rows(split)).astype(int) for r in (size, size // 2))
            corners = finer[:, ::2, ::2] + finer[:, 1::2, ::2] + finer[:, ::2, 1::2] + finer[:, 1::2, 1::2]
            np.testing.assert_array_equal(coarser, (corners + 2) // 4)
            size //= 2


def test_columns_above_64_pixels_are_png_and_lossless(tmp_path: Path) -> None:
    for channels in (1, 3):
        images = colours(3, 128)[:, :, :, :channels]
        np.savez(tmp_path / f"{channels}.npz", images=images)
        dataset = Dataset.open(pack(str(tmp_path / f"{channels}.npz"), str(tmp_path / f"d{channels}")).dest)
        assert dataset.manifest.columns["r64"] == "raw" and dataset.manifest.columns["r128"] == "png"
        split = dataset.split("train")
        ids = [int(name) for name in split.ids(all_rows(split))]
        np.testing.assert_array_equal(split.read(128, all_rows(split)), images[ids])


def test_the_validation_split_is_held_out_of_the_shuffle(npz: str, tmp_path: Path) -> None:
    dataset = Dataset.open(pack(npz, str(tmp_path / "d"), validation_fraction=0.25, **SMALL).dest)
    train, validation = dataset.split("train"), dataset.split("validation")
    assert (train.rows, validation.rows) == (30, 10)
    held_out = set(validation.ids(all_rows(validation)))
    assert len(held_out) == 10 and not held_out & set(train.ids(all_rows(train)))
    assert train.group_sizes == (4, 4, 4, 4, 4, 4, 4, 2)


def test_attributes_stay_with_their_images_and_may_be_missing(tmp_path: Path) -> None:
    report = pack(striped_parquet(tmp_path / "a.parquet", 200), str(tmp_path / "d"), **SMALL, validation_fraction=0.1)
    assert report.manifest.attributes == {"even": "bool", "size": "int64"}
    tables = [pq.read_table(path) for path in sorted(Path(report.dest).rglob("*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist()
    assert sorted(row["r8"][0] for row in rows) == list(range(200))
    for row in rows:
        number = row["r8"][0]
        assert row["attribute.even"] == (number % 2 == 0)
        assert row["attribute.size"] == (number if number % 3 else None)


def test_a_source_in_chunks_gives_every_image(tmp_path: Path) -> None:
    source = open_source(striped_parquet(tmp_path / "a.parquet", 240, rows_per_group=4))
    assert source.chunks is not None and source.chunks.max() == 59
    split = Dataset.open(pack(source, str(tmp_path / "d"), **SMALL).dest).split("train")
    numbers = split.read(8, all_rows(split))[:, 0, 0, 0]
    assert sorted(numbers) == list(range(240)) and list(numbers) != sorted(numbers)


def test_a_packing_of_a_source_in_chunks_is_the_same_each_time(tmp_path: Path) -> None:
    source = striped_parquet(tmp_path / "a.parquet", 240, rows_per_group=4)
    for name in ("a", "b"):
        pack(source, str(tmp_path / name), validation_fraction=0.1, **SMALL)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_images_of_which_something_is_lost_are_counted(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(4)))
    frames = [Image.fromarray(image) for image in colours(3)]
    frames[0].save(source / "moving.gif", save_all=True, append_images=frames[1:])
    report = pack(str(source), str(tmp_path / "d"))
    assert report.rows == {"train": 5} and list(report.manifest.notes.values()) == [1]
    assert "first is taken" in next(iter(report.manifest.notes))


@pytest.mark.parametrize("encoding", ["png", "jpeg", "raw"])
def test_the_encoding_is_that_of_the_columns_above_64_pixels(tmp_path: Path, encoding: Encoding) -> None:
    smooth = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None, None], (3, 128, 128, 3))
    np.savez(tmp_path / "a.npz", images=smooth)
    dataset = Dataset.open(pack(str(tmp_path / "a.npz"), str(tmp_path / "d"), encoding=encoding).dest)
    assert dataset.manifest.encoding == encoding
    assert dataset.manifest.columns == {f"r{4 << k}": "raw" for k in range(5)} | {"r128": encoding}
    images = dataset.split("train").read(128, np.arange(3)).astype(int)
    assert np.abs(images - smooth).max() <= (3 if encoding == "jpeg" else 0)
    metadata = pq.read_metadata(tmp_path / "d" / "train" / "shard_00000.parquet").row_group(0)
    compression = {
        metadata.column(k).path_in_schema: metadata.column(k).compression for k in range(metadata.num_columns)
    }
    assert compression.pop("r128") == ("ZSTD" if encoding == "raw" else "UNCOMPRESSED")
    assert set(compression.values()) == {"UNCOMPRESSED"}


def test_coarser_levels_are_averages_of_the_images_before_a_lossy_encoding(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=colours(3, 128))
    for encoding in ("png", "jpeg"):
        pack(str(tmp_path / "a.npz"), str(tmp_path / encoding), encoding=encoding)  # type: ignore[arg-type]
    png, jpeg = (Dataset.open(str(tmp_path / name)).split("train") for name in ("png", "jpeg"))
    assert not np.array_equal(png.read(128, np.arange(3)), jpeg.read(128, np.arange(3)))
    np.testing.assert_array_equal(png.read(64, np.arange(3)), jpeg.read(64, np.arange(3)))


def test_small_images_are_padded_to_the_resolution_asked(tmp_path: Path) -> None:
    np.savez(tmp_path / "digits.npz", images=np.full((4, 28, 28), 9, np.uint8))
    dest = pack(str(tmp_path / "digits.npz"), str(tmp_path / "d"), resolution=32, square="pad").dest
    images = Dataset.open(dest).split("train").read(32, np.arange(4))
    assert images.shape == (4, 32, 32, 1)
    assert (images[:, 2:30, 2:30] == 9).all() and images.sum() == 4 * 9 * 28 * 28


def test_the_resolution_defaults_to_the_power_of_two_that_fits_the_first_readable_image(
    tmp_path: Path,
) -> None:
    source = Path(image_folder(tmp_path / "images", colours(3, 30)))
    (source / "000.png").write_bytes(b"broken")
    report = pack(str(source), str(tmp_path / "d"), max_rejected_fraction=0.5)
    assert report.manifest.resolution == 16
    assert list(report.manifest.columns) == ["r4", "r8", "r16"]


# --- the same bytes ----------------------------------------------------------------------------------


def test_two_packs_of_one_source_are_byte_identical_and_another_seed_differs(npz: str, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        pack(npz, str(tmp_path / name), seed=seed, validation_fraction=0.1, **SMALL)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert (
        files_of(tmp_path / "a")["train/shard_00000.parquet"] != files_of(tmp_path / "c")["train/shard_00000.parquet"]
    )


class InterruptedPackingError(Exception):
    """A stand-in for any external interruption of a packing."""


def interrupt_after(images: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done > images:
            raise InterruptedPackingError

    return progress


def test_an_interrupted_packing_resumes_without_rewriting_and_ends_the_same(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours()))
    (source / "007.png").write_bytes(b"broken")
    options: dict[str, Any] = {**SMALL, "validation_fraction": 0.25, "max_rejected_fraction": 0.1}
    with pytest.raises(InterruptedPackingError):
        pack(str(source), str(tmp_path / "d"), progress=interrupt_after(16), **options)
    first = tmp_path / "d" / "train" / "shard_00000.parquet"
    written = first.stat()
    assert not (tmp_path / "d" / "manifest.json").exists()
    with pytest.raises(ValueError, match="is not fully packed; run the same"):
        Dataset.open(str(tmp_path / "d"))

    report = pack(str(source), str(tmp_path / "d"), **options)
    assert report.resumed_shards == 1 and not report.already_done
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    pack(str(source), str(tmp_path / "whole"), **options)
    assert files_of(tmp_path / "d") == files_of(tmp_path / "whole")


def test_progress_counts_up_to_all_images_and_goes_on_from_where_it_was(npz: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with pytest.raises(InterruptedPackingError):
        pack(npz, str(tmp_path / "d"), progress=interrupt_after(16), **SMALL)
    pack(npz, str(tmp_path / "d"), progress=lambda done, total: seen.append((done, total)), **SMALL)
    # 12 are in the shard that is kept; each shard ends with its own call
    assert seen == [(done, COUNT) for done in (12, 16, 20, 24, 24, 28, 32, 36, 36, 40, 40)]


def test_an_interrupted_packing_of_other_images_or_options_starts_over(npz: str, tmp_path: Path) -> None:
    with pytest.raises(InterruptedPackingError):
        pack(npz, str(tmp_path / "d"), progress=interrupt_after(16), **SMALL)
    report = pack(npz, str(tmp_path / "d"), seed=5, **SMALL)
    assert (report.resumed_shards, report.discarded_shards) == (0, 1)
    pack(npz, str(tmp_path / "whole"), seed=5, **SMALL)
    assert files_of(tmp_path / "d") == files_of(tmp_path / "whole")


def test_a_finished_shard_that_has_gone_is_packed_again(npz: str, tmp_path: Path) -> None:
    with pytest.raises(InterruptedPackingError):
        pack(npz, str(tmp_path / "d"), progress=interrupt_after(16), **SMALL)
    (tmp_path / "d" / "train" / "shard_00000.parquet").unlink()
    assert pack(npz, str(tmp_path / "d"), **SMALL).resumed_shards == 0
    assert verify(str(tmp_path / "d")) == []


def test_a_finished_dataset_is_left_alone(npz: str, packed: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(packed).rglob("*")}
    report = pack(npz, packed, **SMALL)
    assert report.already_done and report.rows == {"train": COUNT}
    assert {path: path.stat().st_mtime_ns for path in Path(packed).rglob("*")} == before


def test_other_options_for_a_finished_dataset_are_refused_one_by_one(npz: str, packed: str) -> None:
    sentence = (
        "packed differently: resolution is 16 there and 8 now, seed is 0 there and 3 now; "
        "name another folder, or delete that one first"
    )
    with pytest.raises(ValueError, match=sentence):
        pack(npz, packed, resolution=8, seed=3, **SMALL)


def test_other_images_for_a_finished_dataset_are_refused(npz: str, packed: str) -> None:
    np.savez(npz, images=255 - colours(), labels=np.arange(COUNT) % 10)
    with pytest.raises(ValueError, match="the images, or the choice of held-out ones, are different"):
        pack(npz, packed, **SMALL)


# --- rejected ----------------------------------------------------------------------------------------


def rejected_of(dest: str) -> dict[str, str]:
    lines = (Path(dest) / "rejected.jsonl").read_text().splitlines()
    return {entry["name"]: entry["reason"] for entry in map(json.loads, lines)}


def test_a_truncated_png_is_listed_with_its_name_and_reason(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(10)))
    whole = (source / "003.png").read_bytes()
    (source / "003.png").write_bytes(whole[: len(whole) // 2])
    (source / "notes.txt").write_text("about the images")
    report = pack(str(source), str(tmp_path / "d"), max_rejected_fraction=0.1)
    assert (report.rows, report.rejected) == ({"train": 9}, 2)
    listed = rejected_of(report.dest)
    assert set(listed) == {"003.png", "notes.txt"}
    assert "truncated" in listed["003.png"] and "not an image" in listed["notes.txt"]


def test_images_below_the_resolution_are_rejected_by_crop(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(4, 32)))
    Image.fromarray(colours(1, 20)[0]).save(source / "small.png")
    report = pack(str(source), str(tmp_path / "d"), max_rejected_fraction=0.5)
    assert rejected_of(report.dest) == {"small.png": "too small: 20x20 px for resolution 32"}


def test_too_many_rejected_images_publish_nothing_and_name_the_first(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(10)))
    for index in (2, 5):
        (source / f"{index:03d}.png").write_bytes(b"broken")
    dest = str(tmp_path / "d")
    sentence = (
        r"2 of 10 images are unusable, more than max_rejected_fraction=0\.1 allows: 002\.png \(not an .*\), "
        r"005\.png \(.*\); they are listed in .*/rejected\.jsonl: repair or remove them, or raise"
    )
    with pytest.raises(ValueError, match=sentence):
        pack(str(source), dest, max_rejected_fraction=0.1)
    assert not (tmp_path / "d" / "manifest.json").exists()
    assert set(rejected_of(dest)) == {"002.png", "005.png"}

    assert pack(str(source), dest, max_rejected_fraction=0.2).rows == {"train": 8}


def test_repaired_images_pack_into_the_same_folder(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(10)))
    (source / "002.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match="1 of 10"):
        pack(str(source), str(tmp_path / "d"))
    (source / "002.png").unlink()
    report = pack(str(source), str(tmp_path / "d"))
    assert (report.rows, report.rejected) == ({"train": 9}, 0)


def test_a_source_of_mostly_broken_images_is_given_up_early(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(60)))
    for path in source.glob("*.png"):
        path.write_bytes(b"broken") if path.name != "000.png" else None
    with pytest.raises(ValueError, match=r"(2\d|3\d) of 60 images are unusable"):
        pack(str(source), str(tmp_path / "d"), rows_per_group=1, rows_per_shard=1)


def test_a_source_without_any_readable_image_says_so(tmp_path: Path) -> None:
    source = Path(image_folder(tmp_path / "images", colours(2)))
    for path in source.glob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"none of the 2 images of .* can be read: 000\.png \(not an image"):
        pack(str(source), str(tmp_path / "d"))
    with pytest.raises(ValueError, match=r"no image of .* is usable"):
        pack(str(source), str(tmp_path / "d"), resolution=16, max_rejected_fraction=1.0)


# --- refused before any work -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution": 24}, "resolution=24 is not possible; use a power of two from 4 to 1024"),
        ({"resolution": 2048}, "resolution=2048 is not possible"),
        ({"square": "stretch"}, "square='stretch' is unknown; use one of shorter_side, center_crop, pad"),
        ({"validation_fraction": 1.0}, "must be at least 0 and below 1"),
        ({"validation_fraction": 0.001}, "gives 0 for validation, 40 for training; both need at least one"),
        ({"max_rejected_fraction": 2}, "must be from 0 to 1"),
        ({"rows_per_shard": 300}, "rows_per_shard=300 must be a multiple of rows_per_group=256"),
        ({"rows_per_group": 0}, "rows_per_group=0 must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(
    npz: str, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pack(npz, str(tmp_path / "d"), **options)
    assert not (tmp_path / "d").exists()


def test_images_too_small_for_any_resolution_say_what_to_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3, 9), np.uint8))
    with pytest.raises(ValueError, match=r"side of 3 px, below 4; set resolution and square='pad'"):
        pack(str(tmp_path / "a.npz"), str(tmp_path / "d"))


def test_a_folder_with_other_things_is_not_packed_into(npz: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds other files \(source\.npz\) and no dataset; name a new folder"):
        pack(npz, str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["source.npz"]
