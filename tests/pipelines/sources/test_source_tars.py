"""Tars: WebDataset samples, several tars as one source, spans read by one request, and incomplete archives."""

import io
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources import CHUNKS_AT_ONCE, chunks, open_source
from pipelines.sources.decoding import ImageRejectedError
from tests.support.made_images import pictures, png, rows, write_tar

PICTURES = pictures(4)
FILES = [png(picture) for picture in PICTURES]
ONE, TWO, THREE, FOUR = FILES


def samples(first: int, count: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for number in range(first, first + count):
        files[f"{number:03d}.png"] = FILES[number]
        files[f"{number:03d}.cls"] = b"%d\n" % (number % 2)
    return files


# --- samples -----------------------------------------------------------------------------------------


def test_what_lies_beside_an_image_is_its_label_and_its_attributes(tmp_path: Path) -> None:
    files = {
        "a.json": b'{"smile": true, "age": 30, "box": [1, 2]}',
        "a.png": ONE,
        "a.txt": "ein Gesicht, müde".encode(),
        "a.cls": b"3",
        "b.cls": b"1",
        "b.json": b'{"age": 30.5, "name": "B"}',
        "b.webp": TWO,
        "c.png": THREE,
    }
    source = open_source(write_tar(tmp_path / "a.tar", files))
    assert rows(source) == [
        {"id": "a.png", "label": 3, "smile": True, "age": 30.0, "txt": "ein Gesicht, müde", "name": None},
        {"id": "b.webp", "label": 1, "smile": None, "age": 30.5, "txt": None, "name": "B"},
        {"id": "c.png", "label": -1, "smile": None, "age": None, "txt": None, "name": None},
    ]
    assert source.attributes.schema.field("smile").type == "bool"
    assert (source.label_count, source.label_names, source.skipped) == (4, (), ())
    np.testing.assert_array_equal(source.load(1), PICTURES[1])


def test_classes_that_are_texts_become_names(tmp_path: Path) -> None:
    files = {"a.png": ONE, "a.cls": b"dog", "b.png": TWO, "b.cls": b"cat\n"}
    source = open_source(write_tar(tmp_path / "a.tar", files))
    assert source.label_names == ("cat", "dog")
    assert [row["label"] for row in rows(source)] == [1, 0]


def test_a_sample_has_one_image_and_its_masks_are_listed(tmp_path: Path) -> None:
    files = {"x/a.seg.png": TWO, "x/a.png": ONE, "x/a.txt": b"first", "x/b.jpg": THREE, "x/b.txt": b"second"}
    source = open_source(write_tar(tmp_path / "a.tar", files))
    assert [row["id"] for row in rows(source)] == ["x/a.png", "x/b.jpg"]
    assert source.skipped == (("x/a.seg.png", "skipped: the image of its sample is x/a.png"),)


def test_images_with_nothing_beside_them_are_all_taken(tmp_path: Path) -> None:
    source = open_source(
        write_tar(tmp_path / "a.tar", {"./cat/a.1.png": ONE, "./cat/a.2.png": TWO, "./dog/a.png": ONE})
    )
    assert [(row["id"], row["label"]) for row in rows(source)] == [
        ("cat/a.1.png", 0),
        ("cat/a.2.png", 0),
        ("dog/a.png", 1),
    ]


def test_what_lies_beside_must_be_readable(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.png": ONE, "a.json": b"{"})
    with pytest.raises(ValueError, match=r"a\.tar is not a complete, readable tar: Expecting property name"):
        open_source(path)
    path = write_tar(tmp_path / "b.tar", {"a.png": ONE, "a.json": b'{"x": 1}', "b.png": ONE, "b.json": b'{"x": "y"}'})
    with pytest.raises(ValueError, match="column 'x' holds values of several kinds"):
        open_source(path)


# --- several tars ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["{folder}", "{folder}/*.tar", "{folder}/s-{{00..01}}.tar", "{folder}/s-{{00,01}}.tar"]
)
def test_several_tars_are_one_source(tmp_path: Path, name: str) -> None:
    write_tar(tmp_path / "s-00.tar", samples(0, 2))
    write_tar(tmp_path / "s-01.tar", samples(2, 2))
    source = open_source(name.format(folder=tmp_path))
    assert source.kind == "2 tars"
    assert [(row["id"], row["label"]) for row in rows(source)] == [
        ("s-00.tar/000.png", 0),
        ("s-00.tar/001.png", 1),
        ("s-01.tar/002.png", 0),
        ("s-01.tar/003.png", 1),
    ]
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(source.load(row), picture)


def test_tars_of_one_name_in_several_folders_are_distinguished(tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", {"a.png": ONE})
    assert [row["id"] for row in rows(open_source(str(tmp_path)))] == ["test/0.tar/a.png", "train/0.tar/a.png"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "s-0.tar", samples(0, 2))
    with pytest.raises(FileNotFoundError, match=rf"^source {tmp_path}/s-1\.tar does not exist"):
        open_source(f"{tmp_path}/s-{{0..1}}.tar")


def test_a_folder_whose_name_is_a_pattern_is_still_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos [2024] {old}*"
    folder.mkdir()
    (folder / "a.png").write_bytes(ONE)
    assert len(open_source(str(folder))) == 1


# --- spans -------------------------------------------------------------------------------------------


def test_neighbours_are_read_at_once_and_each_span_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 2000)
    write_tar(tmp_path / "0.tar", {f"{n}.png": FILES[n % 4] for n in range(5)})
    write_tar(tmp_path / "1.tar", {"5.png": TWO, "6.png": bytes(5000), "7.png": FOUR, "8.png": b""})
    source = open_source(str(tmp_path))
    assert source.chunks is not None and source.chunks.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 5]
    reads: list[tuple[int, int]] = []
    read_range = chunks.read_range
    monkeypatch.setattr(chunks, "read_range", lambda url, *span: (reads.append(span), read_range(url, *span))[1])
    for row in (0, 2, 1, 3, 0, 4, 5, 7):
        np.testing.assert_array_equal(source.load(row), PICTURES[row % 4 if row < 5 else {5: 1, 7: 3}[row]])
    assert len(reads) == 5 and all(stop - start <= 2000 for start, stop in reads)
    for row, reason in ((6, "not an image"), (8, "the file is empty")):
        with pytest.raises(ImageRejectedError, match=reason):
            source.load(row)


def test_as_many_chunks_are_kept_as_packing_interleaves_and_not_all() -> None:
    kept: chunks.Kept[int] = chunks.Kept()
    loaded: list[int] = []

    def get(number: int) -> int:
        return kept.get(number, lambda: loaded.append(number) or number)

    interleaved = [*range(CHUNKS_AT_ONCE)] * 3
    assert [get(number) for number in interleaved] == interleaved
    assert loaded == [*range(CHUNKS_AT_ONCE)]
    for number in range(100, 100 + CHUNKS_AT_ONCE + chunks.SPARE):
        get(number)
    loaded.clear()
    assert (get(0), loaded) == (0, [0])


def test_threads_that_want_one_chunk_wait_for_one_load() -> None:
    kept: chunks.Kept[int] = chunks.Kept()
    loads: list[int] = []
    begun = threading.Event()

    def load() -> int:
        begun.wait(10)
        loads.append(1)
        return 7

    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(kept.get, 0, load) for _ in range(8)]
        begun.set()
        assert [future.result(10) for future in found] == [7] * 8
    assert loads == [1]


def test_a_store_that_fails_once_is_asked_again_and_a_rejection_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(write_tar(tmp_path / "a.tar", {"a.png": ONE}))
    failures: list[Exception] = [ConnectionError("the store hung up")]
    read_range = chunks.read_range

    def read(url: str, start: int, stop: int) -> bytes:
        if failures:
            raise failures.pop()
        return read_range(url, start, stop)

    monkeypatch.setattr(chunks, "read_range", read)
    with pytest.raises(ConnectionError):
        source.load(0)
    np.testing.assert_array_equal(source.load(0), PICTURES[0])
    kept: chunks.Kept[int] = chunks.Kept()

    def refuse() -> int:
        raise ImageRejectedError("damaged")

    for load in (refuse, lambda: 7):
        with pytest.raises(ImageRejectedError, match="damaged"):
            kept.get(0, load)


# --- incomplete archives -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_a_compressed_tar_is_unpacked_to_a_copy(tmp_path: Path, name: str) -> None:
    source = open_source(write_tar(tmp_path / name, samples(0, 2)))
    np.testing.assert_array_equal(source.load(1), PICTURES[1])
    assert [row["label"] for row in rows(source)] == [0, 1]


def test_a_compressed_tar_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "a.tar.gz", samples(0, 4)))
    whole = path.read_bytes()
    for number, data in enumerate((whole[:-20], b"x" + whole[1:], whole[:40] + b"?" + whole[41:])):
        (tmp_path / f"{number}.tgz").write_bytes(data)
        with pytest.raises(ValueError, match="is not a complete, readable tar"):
            open_source(str(tmp_path / f"{number}.tgz"))


def test_a_tar_that_is_cut_short_or_damaged_is_refused(tmp_path: Path) -> None:
    whole = Path(write_tar(tmp_path / "a.tar", {"a.png": ONE, "b.png": TWO})).read_bytes()
    second = whole.index(b"b.png")
    damaged = whole[: second + 20] + b"\xff" + whole[second + 21 :]
    joined = whole + Path(write_tar(tmp_path / "b.tar", {"c.png": THREE})).read_bytes()
    cases = {
        "unexpected end of data": whole[: second + 520],
        "no header and no end mark": damaged,
        "no header and no end mark at byte 2,048": whole[:2048],
        "continues after its end mark": joined,
        "empty file": b"",
    }
    for fault, data in cases.items():
        (tmp_path / "c.tar").write_bytes(data)
        with pytest.raises(ValueError, match=rf"c\.tar is not a complete, readable tar: .*{fault}.*; get it again"):
            open_source(str(tmp_path / "c.tar"))


def test_links_in_a_tar_are_listed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(ONE)
        archive.addfile(info, io.BytesIO(ONE))
        for name, kind in (("b.png", tarfile.SYMTYPE), ("c.png", tarfile.LNKTYPE), ("folder", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            archive.addfile(info)
    source = open_source(str(tmp_path / "a.tar"))
    assert [row["id"] for row in rows(source)] == ["a.png"]
    assert [name for name, _ in source.skipped] == ["b.png", "c.png"]


def test_a_tar_that_shrinks_after_it_was_opened_rejects_the_images_that_it_lost(tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "a.tar", {"a.png": ONE, "b.png": TWO}))
    source = open_source(str(path))
    path.write_bytes(path.read_bytes()[:1600])
    np.testing.assert_array_equal(source.load(0), PICTURES[0])
    with pytest.raises(ImageRejectedError, match="the file ends before it"):
        source.load(1)
