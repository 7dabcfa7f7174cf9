"""Folders and zips as sources, the files in them that count as images, and addresses that are not sources."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources import Source, listing, open_source
from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.listing import class_folders
from tests.support.made_images import pictures, png, write_folder, write_tar, write_zip

FIRST, SECOND = pictures(2)
ONE = png(FIRST)


def ids(source: Source) -> list[str]:
    return source.index["id"].to_pylist()


def labels(source: Source) -> list[int]:
    return source.index["label"].to_pylist()


def write_files(root: Path, files: dict[str, bytes], kind: str) -> str:
    if kind == "folder":
        return write_folder(root / "source", files)
    return (write_zip if kind == "zip" else write_tar)(root / f"source.{kind}", files)


@pytest.fixture(params=["folder", "zip", "tar"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


# --- files -------------------------------------------------------------------------------------------


def test_files_come_sorted_with_the_pixels_they_hold(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"a/x.png": png(SECOND), "b.png": ONE}, kind))
    assert ids(source) == ["a/x.png", "b.png"]
    assert labels(source) == [-1, -1] and source.label_count == 0
    np.testing.assert_array_equal(source.load(0), SECOND)
    np.testing.assert_array_equal(source.load(1), FIRST)


def test_one_level_of_class_folders_becomes_the_labels(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"cat/2.png": ONE, "dog/1.png": ONE, "dog/3": ONE}, kind))
    assert source.label_names == ("cat", "dog")
    assert list(zip(ids(source), labels(source), strict=True)) == [("cat/2.png", 0), ("dog/1.png", 1), ("dog/3", 1)]
    assert source.describe() == f"{source.name}: {kind} of 3 images in 2 classes"


@pytest.mark.parametrize(
    ("paths", "names", "labels"),
    [
        (["all/cat/1", "all/dog/2"], ("cat", "dog"), (0, 1)),
        (["photos/1", "photos/2"], (), (-1, -1)),
        (["1", "cat/2"], (), (-1, -1)),
        (["train/cat/1", "test/cat/2"], (), (-1, -1)),
        (["cat/1", "dog/deep/2"], (), (-1, -1)),
        ([], (), ()),
    ],
)
def test_labels_need_exactly_one_level_of_folders_that_differ(
    paths: list[str], names: tuple[str, ...], labels: tuple[int, ...]
) -> None:
    found, numbers = class_folders(paths)
    assert (found, tuple(numbers)) == (names, labels)


def test_hidden_and_system_files_are_ignored_and_others_are_listed(tmp_path: Path, kind: str) -> None:
    files = {name: b"?" for name in (".DS_Store", "__MACOSX/a.png", ".git/x.png", "Thumbs.db", "readme.pdf.gz")}
    source = open_source(write_files(tmp_path, files | {"a.png": ONE}, kind))
    assert ids(source) == ["a.png"]
    assert source.skipped == (("readme.pdf.gz", "skipped: not an image that Pillow can read, by its name"),)


def test_a_huge_file_is_listed_and_not_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_FILE_BYTES", len(ONE))
    source = open_source(write_files(tmp_path, {"a.png": ONE, "b.png": ONE + b"x"}, kind))
    assert ids(source) == ["a.png"]
    assert source.skipped == (("b.png", f"skipped: the file has {len(ONE) + 1} bytes, more than {len(ONE)}"),)


def test_a_broken_file_is_rejected_when_loaded_and_stops_no_other(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"a.png": ONE[:60], "b.png": b"", "c.png": ONE}, kind))
    with pytest.raises(ImageRejectedError, match="cannot be decoded"):
        source.load(0)
    with pytest.raises(ImageRejectedError, match="the file is empty"):
        source.load(1)
    np.testing.assert_array_equal(source.load(2), FIRST)


def test_a_file_is_what_it_holds_whatever_its_name_says(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"a.jpg": ONE, "b.webp": ONE, "c.png": b"GIF8?"}, kind))
    np.testing.assert_array_equal(source.load(0), FIRST)
    np.testing.assert_array_equal(source.load(1), FIRST)
    with pytest.raises(ImageRejectedError, match="not an image"):
        source.load(2)


def test_a_file_that_has_gone_or_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    source = open_source(write_files(tmp_path, {"a.png": ONE, "b.png": ONE}, "folder"))
    (tmp_path / "source" / "a.png").unlink()
    with pytest.raises(ImageRejectedError, match="the file has gone"):
        source.load(0)
    (tmp_path / "source" / "b.png").unlink()
    (tmp_path / "source" / "b.png").mkdir()
    with pytest.raises(ImageRejectedError, match="the file cannot be read"):
        source.load(1)


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_name_that_is_not_utf8_is_made_printable(tmp_path: Path, kind: str) -> None:
    source = open_source(write_files(tmp_path, {"\udce9t\udce9.png": ONE}, kind))
    assert ids(source) == ["\N{REPLACEMENT CHARACTER}t\N{REPLACEMENT CHARACTER}.png"]
    np.testing.assert_array_equal(source.load(0), FIRST)


def test_the_fingerprint_follows_names_sizes_and_labels(tmp_path: Path, kind: str) -> None:
    def fingerprint(folder: str, files: dict[str, bytes]) -> str:
        (tmp_path / folder).mkdir()
        return open_source(write_files(tmp_path / folder, files, kind)).fingerprint

    first = fingerprint("1", {"a.png": ONE})
    assert fingerprint("2", {"a.png": ONE}) == first
    assert fingerprint("3", {"b.png": ONE}) != first
    assert fingerprint("4", {"a.png": png(FIRST[:5])}) != first
    cats = {"a/1.png": ONE, "b/2.png": ONE}
    described = cats | {"dataset.json": b'{"labels": [["a/1.png", 1], ["b/2.png", 0]]}'}
    assert fingerprint("5", cats) != fingerprint("6", described)


# --- zips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_behind_other_bytes_or_with_a_comment_is_read(tmp_path: Path, method: int) -> None:
    path = Path(write_zip(tmp_path / "a.zip", {"a.png": ONE, "b.png": png(SECOND)}, method))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment lies behind the end"
    path.write_bytes(b"#!/bin/sh\nexit\n" + path.read_bytes())
    source = open_source(str(path))
    np.testing.assert_array_equal(source.load(0), FIRST)
    np.testing.assert_array_equal(source.load(1), SECOND)


def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.png", ONE)
        archive.writestr("a.png", png(SECOND))
    source = open_source(str(path))
    assert len(source) == 1
    np.testing.assert_array_equal(source.load(0), SECOND)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("where", ["signature", "body", "cut"])
def test_a_damaged_member_of_a_zip_is_rejected(tmp_path: Path, method: int, where: str) -> None:
    path = Path(write_zip(tmp_path / "a.zip", {"a.png": ONE, "b.png": ONE}, method))
    source = open_source(str(path))
    data = bytearray(path.read_bytes())
    if where == "cut":
        del data[data.rindex(b"b.png", 0, data.index(b"PK\1\2")) + 20 :]
    else:
        data[data.index(b"a.png") + (20 if where == "body" else -30)] ^= 1
    path.write_bytes(data)
    with pytest.raises(ImageRejectedError, match="damaged in the zip"):
        source.load(1 if where == "cut" else 0)


def test_a_member_that_unpacks_to_more_than_it_says_is_rejected(tmp_path: Path) -> None:
    path = Path(write_zip(tmp_path / "a.zip", {"a.png": bytes(10**6)}, zipfile.ZIP_DEFLATED))
    data = bytearray(path.read_bytes())
    size = data.index(b"PK\1\2") + 24
    data[size : size + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ImageRejectedError, match="damaged in the zip: its checksum is wrong"):
        open_source(str(path)).load(0)


def test_a_zip_of_another_method_or_with_a_password_is_refused(tmp_path: Path) -> None:
    path = Path(write_zip(tmp_path / "a.zip", {"a.png": ONE}, zipfile.ZIP_LZMA))
    with pytest.raises(ValueError, match=r"a\.png is compressed by method 14, .* again stored or deflated"):
        open_source(str(path))
    path = Path(write_zip(tmp_path / "b.zip", {"a.png": ONE}))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png is encrypted; .* without a password"):
        open_source(str(path))


def test_a_zip_that_is_none_or_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK not really")
    whole = Path(write_zip(tmp_path / "b.zip", {"a.png": ONE})).read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:-30])
    for name in ("a.zip", "b.zip"):
        with pytest.raises(ValueError, match=rf"{name} is not a readable zip"):
            open_source(str(tmp_path / name))


# --- addresses that are not sources ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "none.zip", "none.npz", "none.tar", "none.tgz", "none.parquet", "x*.tar"])
def test_a_missing_source_says_so_and_what_a_source_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError) as error:
        open_source(str(tmp_path / name))
    fault = "matches no file" if "*" in name else "does not exist"
    assert str(error.value).startswith(f"source {tmp_path / name} {fault}; a source is a folder of images or")


def test_an_empty_source_says_what_it_holds_instead(tmp_path: Path, kind: str) -> None:
    source = write_files(tmp_path, {"notes.pdf.gz": b"x", ".hidden.png": ONE}, kind)
    with pytest.raises(ValueError, match=r"holds no images; it holds 1 other files, for example 'notes\.pdf\.gz'"):
        open_source(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images; a source is"):
        open_source(str(tmp_path / "empty"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.7z").write_bytes(b"x")
    with pytest.raises(ValueError, match="a single file of no known kind; a source is a folder"):
        open_source(str(tmp_path / "a.7z"))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    for name in ("a.tar", "b.zip", "c.zip"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds files of several kinds \(tar, zip\); name those of one kind"):
        open_source(str(tmp_path / "*"))
    with pytest.raises(ValueError, match=r"is 2 files; only \.tar, \.parquet and \.tfrecords files are read together"):
        open_source(str(tmp_path / "*.zip"))


def test_columns_are_named_only_where_there_are_some(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"a.png": ONE})
    write_zip(tmp_path / "a.zip", {"a.png": ONE})
    for name in ("a#image=b", "a.zip#image=a,label=b"):
        with pytest.raises(ValueError, match=r"only .parquet and .npz files have columns to name; leave '#\.\.\.' out"):
            open_source(str(tmp_path / name))


def test_other_channels_than_one_and_three_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="channels=4 is not possible; use 1"):
        open_source(str(tmp_path), channels=4)
