"""Images in Parquet: the choice of the image column, labels with names, attributes, and row groups as chunks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources import listing, open_source
from pipelines.sources import tables as source_tables
from pipelines.sources.decoding import ImageRejectedError
from tests.support.made_images import pictures, png, rows, write_faces

PICTURES = pictures(5)
FILES = {f"{number}.png": png(picture) for number, picture in enumerate(PICTURES)}
BYTES = list(FILES.values())


def write(path: Path, columns: Any, **options: Any) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


# --- columns -----------------------------------------------------------------------------------------


def test_a_table_of_hugging_face_has_names_labels_and_attributes(tmp_path: Path) -> None:
    path = write_faces(
        tmp_path / "faces.parquet",
        FILES,
        names=["cat", "dog"],
        label=[1, 0, None, 1, 0],
        smile=[True, False] * 2 + [None],
    )
    source = open_source(path)
    assert source.label_names == ("cat", "dog") and source.channels == 3
    assert rows(source) == [
        {"id": "0.png", "label": 1, "smile": True},
        {"id": "1.png", "label": 0, "smile": False},
        {"id": "2.png", "label": -1, "smile": True},
        {"id": "3.png", "label": 1, "smile": False},
        {"id": "4.png", "label": 0, "smile": None},
    ]
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(source.load(row), picture)


def test_a_table_of_bytes_alone_is_numbered(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.parquet", {"photo": BYTES}, row_group_size=2))
    assert [row["id"] for row in rows(source)] == [f"{number:08d}" for number in range(5)]
    assert source.label_count == 0 and source.attributes.num_columns == 0
    np.testing.assert_array_equal(source.load(4), PICTURES[4])


def test_images_whose_files_had_one_name_are_numbered(tmp_path: Path) -> None:
    images = [{"bytes": data, "path": "image.png"} for data in BYTES]
    source = open_source(write(tmp_path / "a.parquet", {"image": images}))
    assert [row["id"] for row in rows(source)][:2] == ["00000000", "00000001"]


def test_the_image_column_is_known_by_its_name_or_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        {"thumb": BYTES[::-1], "img": BYTES, "kind": ["b", "a", "b", "a", "b"], "label": [3] * 5, "wide": [[1, 2]] * 5},
    )
    source = open_source(path)
    np.testing.assert_array_equal(source.load(0), PICTURES[0])
    assert rows(source)[0] == {"id": "00000000", "label": 3, "kind": "b"}
    source = open_source(f"{path}#image=thumb,label=kind")
    np.testing.assert_array_equal(source.load(0), PICTURES[4])
    assert source.label_names == ("a", "b")
    assert source.index["label"].to_pylist() == [1, 0, 1, 0, 1]
    assert source.attributes.to_pydict() == {"label": [3] * 5}


@pytest.mark.parametrize(
    ("columns", "named", "sentence"),
    [
        ({"a": BYTES, "b": BYTES}, "", r"has several columns of bytes; name one of a, b: .*a\.parquet#image=a$"),
        ({"a": BYTES, "x": [1] * 5}, "#image=x", r"has no column 'x' of bytes; name one of a: .*a\.parquet#image=a$"),
        ({"x": [1] * 5, "y": ["b"] * 5}, "", r"has no column of image files as bytes \(its columns: x, y\)"),
        ({"a": BYTES, "x": [1] * 5}, "#label=kind", r"has no column 'kind' \(its columns: a, x\)"),
        ({"a": BYTES, "label": [0.5] * 5}, "", "column 'label': labels of type double must be integers"),
        ({"a": BYTES, "x": pa.array([2**63] * 5, pa.uint64())}, "", "column 'x' does not fit int64"),
        ({"a": pa.array([], pa.binary())}, "", "holds no images"),
    ],
)
def test_a_table_that_does_not_fit_says_why(tmp_path: Path, columns: Any, named: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_source(write(tmp_path / "a.parquet", columns) + named)


def test_class_names_that_do_not_cover_the_labels_are_left_out(tmp_path: Path) -> None:
    source = open_source(write_faces(tmp_path / "a.parquet", FILES, names=["cat"], label=[0, 1, 0, 1, 0]))
    assert (source.label_names, source.label_count) == ((), 2)


def test_metadata_of_others_in_the_schema_is_no_hindrance(tmp_path: Path) -> None:
    for content in (b"{", b"[]", json.dumps({"info": {"features": {"label": None}}}).encode()):
        table = pa.table({"image": BYTES, "label": [0] * 5}).replace_schema_metadata({"huggingface": content})
        pq.write_table(table, tmp_path / "a.parquet")
        assert open_source(str(tmp_path / "a.parquet")).label_names == ()


# --- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{folder}", "{folder}/data/*.parquet", "{folder}/data/{{a,b}}.parquet"])
def test_several_files_are_one_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("about it")
    write(tmp_path / "data" / "a.parquet", {"img": BYTES[:3], "age": [1, 2, 3], "label": ["b", "a", "b"]})
    write(tmp_path / "data" / "b.parquet", {"img": BYTES[3:], "age": [0.5, None], "label": ["c", "a"]})
    source = open_source(name.format(folder=tmp_path))
    assert source.label_names == ("a", "b", "c") and len(source) == 5
    assert source.attributes.to_pydict() == {"age": [1, 2, 3, 0.5, None]}
    np.testing.assert_array_equal(source.load(4), PICTURES[4])


def test_files_that_differ_in_their_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"img": BYTES, "age": [1] * 5})
    write(tmp_path / "b.parquet", {"img": BYTES})
    with pytest.raises(ValueError, match=r"b\.parquet has no column 'age', which .* begins with"):
        open_source(str(tmp_path))
    write(tmp_path / "b.parquet", {"img": BYTES, "age": ["old"] * 5})
    with pytest.raises(ValueError, match="its files differ in their columns"):
        open_source(str(tmp_path))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    whole = Path(write(tmp_path / "a.parquet", {"img": BYTES})).read_bytes()
    for data in (b"PAR1", whole[:-10], b""):
        (tmp_path / "b.parquet").write_bytes(data)
        with pytest.raises(ValueError, match=r"^source .*b\.parquet is not a readable Parquet file: "):
            open_source(str(tmp_path / "b.parquet"))


# --- row groups --------------------------------------------------------------------------------------


def test_row_groups_are_chunks_and_each_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        write_faces(tmp_path / f"{number}.parquet", FILES)
    source = open_source(str(tmp_path))
    assert source.chunks is not None and source.chunks.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    reads: list[int] = []
    load = source_tables.TableReader._load
    monkeypatch.setattr(source_tables.TableReader, "_load", lambda self, g: (reads.append(g.group), load(self, g))[1])
    for row in (9, 0, 8, 1, 0, 9):
        np.testing.assert_array_equal(source.load(row), PICTURES[row % 5])
    assert reads == [2, 0, 1]


def test_empty_row_groups_hold_nothing_up(tmp_path: Path) -> None:
    table = pa.table({"img": BYTES})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema) as writer:
        for part in (table.slice(0, 2), table.slice(0, 0), table.slice(2)):
            writer.write_table(part)
    source = open_source(str(tmp_path / "a.parquet"))
    assert source.chunks is not None and source.chunks.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(source.load(2), PICTURES[2])


def test_a_cell_without_bytes_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"bytes": BYTES[0], "path": None}, {"bytes": None, "path": "/elsewhere/a.png"}, None]
    source = open_source(write(tmp_path / "a.parquet", {"image": images}))
    np.testing.assert_array_equal(source.load(0), PICTURES[0])
    for row in (1, 2):
        with pytest.raises(ImageRejectedError, match="the table holds no bytes for it"):
            source.load(row)
    monkeypatch.setattr(source_tables, "MAX_FILE_BYTES", 10)
    with pytest.raises(ImageRejectedError, match=r"it has \d+ bytes, more than 10"):
        source.load(0)
    assert listing.MAX_FILE_BYTES == 512 * 2**20


def test_a_damaged_row_group_is_rejected_and_stops_no_other(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.parquet", {"img": BYTES}, row_group_size=2, write_page_checksum=True))
    source = open_source(str(path))
    data = bytearray(path.read_bytes())
    data[data.index(BYTES[2]) + 5] ^= 1
    path.write_bytes(data)
    for row in (2, 3, 2):
        with pytest.raises(ImageRejectedError, match=r"row group 1 of .* cannot be read: .*CRC checksum"):
            source.load(row)
    np.testing.assert_array_equal(source.load(0), PICTURES[0])


def test_the_fingerprint_follows_labels_attributes_and_sizes(tmp_path: Path) -> None:
    columns = {"img": BYTES, "label": [0] * 5, "age": [1] * 5}
    changes = [{}, {"label": [0] * 4 + [1]}, {"age": [1] * 4 + [None]}, {"img": [*BYTES[:4], BYTES[4] + b"?"]}]
    options = {"compression": "none", "use_dictionary": False}
    found = [open_source(write(tmp_path / "a.parquet", columns | change, **options)) for change in changes]
    prints = [source.fingerprint for source in found]
    assert len(set(prints)) == len(changes)
    named = [
        open_source(write_faces(tmp_path / "c.parquet", FILES, names=names, label=[0] * 5)) for names in ("ab", "cd")
    ]
    assert named[0].fingerprint != named[1].fingerprint
    assert open_source(write(tmp_path / "b.parquet", columns, **options)).fingerprint == prints[0]
