"""`alae data verify` names faults and their places; `alae data show` describes a dataset."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipelines import storage
from pipelines.data import verify as verifying
from pipelines.data.describe import describe
from pipelines.data.pack.pack import pack
from pipelines.data.verify import verify
from tests.support.packed import COUNT, colours, flip, flip_a_byte, striped_parquet

SHARD = "train/shard_00000.parquet"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a dataset of 128 px with raw and encoded columns and two shards of three row groups."""
    folder = tmp_path_factory.mktemp("large")
    np.savez(folder / "a.npz", images=colours(12, 128))
    pack(str(folder / "a.npz"), str(folder / "d"), rows_per_group=2, rows_per_shard=6)
    paths = [path for path in (folder / "d").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / "d")): path.read_bytes() for path in paths}


@pytest.fixture
def dataset(large: dict[str, bytes], tmp_path: Path) -> Path:
    """A copy of the dataset that tests may damage."""
    for name, data in large.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_a_sound_dataset_has_no_problems_and_every_image_is_counted(dataset: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert verify(str(dataset), lambda done, total: seen.append((done, total))) == []
    assert seen == [(6, 12), (12, 12)]


@pytest.mark.parametrize("column", ["id", "label", "content", "dhash", "r4", "r64", "r128"])
@pytest.mark.parametrize("group", [0, 2])
def test_a_flipped_bit_is_named_by_shard_row_group_and_column(dataset: Path, column: str, group: int) -> None:
    flip_a_byte(dataset / SHARD, group, column)
    (problem,) = verify(str(dataset))
    place = (
        rf"{SHARD} has changed since it was packed, by its SHA-256: row group {group}, column {column} cannot be read"
    )
    assert re.match(place, problem) and problem.count("cannot be read") == 1


def test_every_damaged_place_of_a_shard_is_named(dataset: Path) -> None:
    for group, column in ((0, "r8"), (0, "r128"), (1, "id")):
        flip_a_byte(dataset / SHARD, group, column)
    (problem,) = verify(str(dataset))
    places = re.findall(r"row group (\d), column (\w+) cannot be read", problem)
    assert places == [("0", "r8"), ("0", "r128"), ("1", "id")]


def test_a_damaged_footer_is_named(dataset: Path) -> None:
    flip(dataset / SHARD, -5)  # the length of the footer
    (problem,) = verify(str(dataset))
    assert "by its SHA-256: its footer cannot be read" in problem


def test_a_change_beside_all_pages_is_found_too(dataset: Path) -> None:
    data = (dataset / SHARD).read_bytes()
    flip(dataset / SHARD, data.rindex(b"parquet-cpp-arrow"))  # the name of the program that wrote the file
    (problem,) = verify(str(dataset))
    assert problem.endswith("but every row group and column is readable: the difference is outside the images")


def test_a_page_that_was_wrong_when_it_was_packed_is_found_by_its_checksum(dataset: Path) -> None:
    """The SHA-256 agrees with the damaged file, as if memory had failed before it was computed."""
    flip_a_byte(dataset / SHARD, 1, "r16")
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][0]["sha256"] = storage.sha256(str(dataset / SHARD))
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    (problem,) = verify(str(dataset))
    assert problem.startswith(f"{SHARD} row group 1, column r16 cannot be read")


def test_missing_and_short_shards_are_named(dataset: Path) -> None:
    (dataset / SHARD).unlink()
    other = dataset / "train/shard_00001.parquet"
    other.write_bytes(other.read_bytes()[:-5])
    missing, short = verify(str(dataset))
    assert missing == f"{SHARD} is missing"
    assert short.startswith("train/shard_00001.parquet has ") and "the manifest says" in short


def test_row_groups_that_the_manifest_does_not_know_are_named(dataset: Path) -> None:
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][0]["groups"] = [3, 1, 2]
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    (problem,) = verify(str(dataset))
    assert "has row groups of (2, 2, 2) rows, the manifest says (3, 1, 2)" in problem


def test_lists_that_do_not_fit_the_manifest_are_named(dataset: Path) -> None:
    (dataset / "rejected.jsonl").write_text('{"name": "x", "reason": "y"}\n')
    (dataset / "duplicates.jsonl").unlink()
    rejected, duplicates = verify(str(dataset))
    assert rejected == "rejected.jsonl lists 1 images, the manifest says 0"
    assert duplicates == "duplicates.jsonl is missing or damaged, the manifest says 0 exact, 0 near"


def test_a_remote_shard_is_fetched_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def download(url: str, target: Path) -> None:
        fetched.append(url)
        target.write_bytes(Path(url).read_bytes())

    monkeypatch.setattr(verifying.storage, "is_local", lambda url: "verify-" in url)
    monkeypatch.setattr(verifying.storage, "download", download)
    flip_a_byte(dataset / SHARD, 0, "r32")
    assert len(verify(str(dataset))) == 1
    assert sorted(fetched) == [f"{dataset}/train/shard_0000{number}.parquet" for number in (0, 1)]


def test_the_description_lists_images_columns_and_their_bytes(packed: str, npz: str) -> None:
    text = describe(packed)
    for part in (
        npz,
        f"train {COUNT}\n",
        "16x16 colour, square by shorter_side",
        "10 classes",
        "row groups of 4",
        "rejected    none",
        "duplicates  none",
    ):
        assert part in text
    line = next(line for line in text.splitlines() if line.split()[:1] == ["r16"])
    _, encoding, weight, unit = line.split()
    assert (encoding, unit) == ("raw", "KiB") and 30 <= float(weight) <= 32


def test_the_description_lists_encoded_columns(dataset: Path) -> None:
    lines = [line.split() for line in describe(str(dataset)).splitlines()]
    encodings = {line[0]: line[1] for line in lines if line and line[0].startswith("r") and line[0][1:].isdigit()}
    assert encodings == {"r4": "raw", "r8": "raw", "r16": "raw", "r32": "raw", "r64": "raw", "r128": "png"}


def test_the_description_lists_attributes_and_the_weight_of_everything(tmp_path: Path) -> None:
    dataset = pack(striped_parquet(tmp_path / "a.parquet", 30), str(tmp_path / "d")).dest
    lines = [line.split() for line in describe(dataset).splitlines()]
    assert ["attributes", "even", "(bool),", "size", "(int64)"] in lines
    assert {"attribute.even", "attribute.size", "total"} <= {line[0] for line in lines if line}
