"""Reading a packed dataset: any rows of one column, and errors that name the damage."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import storage
from pipelines.data.format.shards import Dataset
from tests.support.packed import COUNT, all_rows, flip_a_byte


def test_reading_a_column_fetches_little_more_than_its_own_bytes(packed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Dataset.open(packed).split("train")
    fetched = count_fetched(monkeypatch)
    split.read(4, all_rows(split))
    fetched.clear()  # the reads so far include the opening of the files
    split.read(4, all_rows(split))
    assert COUNT * 4 * 4 * 3 <= sum(fetched) <= 2 * COUNT * 4 * 4 * 3
    fetched.clear()
    split.read(16, np.array([0, 3]))
    assert 4 * 16 * 16 * 3 <= sum(fetched) <= 1.1 * 4 * 16 * 16 * 3


def count_fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that will receive the size of every read of shard files, through a filesystem that counts."""
    import fsspec
    import pyarrow.fs

    fetched: list[int] = []

    class Counting(pyarrow.fs.FSSpecHandler):
        def open_input_file(self, path: str) -> Any:
            file = Path(path).open("rb")
            read = file.read

            class Counted:
                closed = False

                def read(self, size: int = -1) -> bytes:
                    data = read(size)
                    fetched.append(len(data))
                    return data

                seek, tell, close = staticmethod(file.seek), staticmethod(file.tell), staticmethod(file.close)
                readable = seekable = staticmethod(lambda: True)
                writable = staticmethod(lambda: False)

            return pyarrow.PythonFile(Counted(), mode="r")

    counting = pyarrow.fs.PyFileSystem(Counting(fsspec.filesystem("file")))
    monkeypatch.setattr(storage, "pyarrow_filesystem", lambda url: (counting, url))
    return fetched


def test_a_split_can_be_pickled_after_use(packed: str) -> None:
    dataset = Dataset.open(packed)
    images = dataset.split("train").read(8, np.array([1, 30]))
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.split("train").read(8, np.array([1, 30])), images)


def test_a_resolution_row_or_split_that_is_not_there_is_named(packed: str) -> None:
    dataset = Dataset.open(packed)
    with pytest.raises(ValueError, match="has no resolution 32; it has 4, 8, 16"):
        dataset.split("train").read(32, np.array([0]))
    for row in (-1, COUNT):
        with pytest.raises(ValueError, match=rf"rows {row} to {row} are not all in .*, which has {COUNT} rows"):
            dataset.split("train").read(8, np.array([row]))
    with pytest.raises(ValueError, match="has no split 'validation'; it has train"):
        dataset.split("validation")


def test_a_flipped_byte_is_detected_and_its_place_is_named(packed: str) -> None:
    flip_a_byte(Path(packed) / "train/shard_00001.parquet", 2, "r16")
    split = Dataset.open(packed).split("train")
    with pytest.raises(RuntimeError, match=r"shard_00001\.parquet: row group 2, column r16 cannot be read .*CRC"):
        split.read(16, np.array([0, 20]))
    assert split.read(8, all_rows(split)).shape == (COUNT, 8, 8, 3)


def test_a_shard_cut_short_is_named_when_read(packed: str) -> None:
    last = Path(packed) / "train" / "shard_00003.parquet"
    last.write_bytes(last.read_bytes()[:-5])
    with pytest.raises(RuntimeError, match=r"shard_00003\.parquet: its footer cannot be read"):
        Dataset.open(packed).split("train").read(8, np.array([COUNT - 1]))


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="it does not exist; make one with `alae pack SOURCE"):
        Dataset.open(str(tmp_path / "none"))
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"it has no manifest\.json"):
        Dataset.open(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "other"}, "is not the manifest of a packed dataset"),
        ({"version": 1}, "has version 1 .* this program reads version 2; pack the images again into a new folder"),
        ({"resolution": None}, "is damaged: resolution: .*; pack the dataset again"),
        ({"splits": {"train": {"rows": 3, "shards": []}}}, "split train has 3 rows, its shards 0"),
    ],
)
def test_a_manifest_that_does_not_fit_says_where(packed: str, change: dict[str, Any], sentence: str) -> None:
    path = Path(packed) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=sentence):
        Dataset.open(packed)
