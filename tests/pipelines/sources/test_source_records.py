"""Key-value stores and records: LSUN's LMDB and the TFRecords of ProGAN, StyleGAN and ALAE."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources import Source, key_values, open_source
from pipelines.sources.decoding import ImageRejectedError
from tests.support.made_images import example, pictures, png, record, write_lmdb, write_tfrecords

PICTURES = pictures(3, 8, 8)
FILES = [png(picture) for picture in PICTURES]


def ids(source: Source) -> list[str]:
    return source.index["id"].to_pylist()


def labels(source: Source) -> list[int]:
    return source.index["label"].to_pylist()


# --- LMDB --------------------------------------------------------------------------------------------


def test_an_lmdb_gives_its_values_in_the_order_of_their_keys(tmp_path: Path) -> None:
    values = {b"b": FILES[1], b"a": FILES[0], b"\xff": FILES[2]}
    source = open_source(write_lmdb(tmp_path / "bedroom_lmdb", values))
    assert ids(source) == ["a", "b", "\N{REPLACEMENT CHARACTER}"]
    assert (source.kind, source.channels, source.label_count, source.chunks) == ("LMDB", 3, 0, None)
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(source.load(row), picture)


def test_an_lmdb_is_found_below_a_folder_and_two_are_distinguished(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "train", {b"a": FILES[0]})
    assert len(open_source(str(tmp_path))) == 1
    write_lmdb(tmp_path / "test", {b"a": FILES[0]})
    with pytest.raises(ValueError, match=r"holds 2 LMDBs; name one of .*/test, .*/train"):
        open_source(str(tmp_path))


def test_a_value_that_is_no_image_or_huge_or_gone_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(write_lmdb(tmp_path / "a", {b"a": FILES[0], b"length": b"1"}))
    with pytest.raises(ImageRejectedError, match="not an image"):
        source.load(1)
    with pytest.raises(ImageRejectedError, match="its key has gone"):
        source.reader.fetch(b"c")
    monkeypatch.setattr(key_values, "MAX_FILE_BYTES", 10)
    with pytest.raises(ImageRejectedError, match=r"it has \d+ bytes, more than 10"):
        source.load(0)


def test_an_lmdb_that_is_none_or_lacks_its_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 10000)
    with pytest.raises(ValueError, match="is not a readable LMDB"):
        open_source(str(tmp_path))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ValueError, match="needs the package lmdb: pip install lmdb"):
        open_source(str(tmp_path))


def test_the_fingerprint_of_an_lmdb_follows_keys_and_sizes(tmp_path: Path) -> None:
    contents = [{b"a": FILES[0]}, {b"b": FILES[0]}, {b"a": FILES[0] + b"x"}, {b"a": FILES[0]}]
    prints = [open_source(write_lmdb(tmp_path / str(n), values)).fingerprint for n, values in enumerate(contents)]
    assert len(set(prints)) == 3 and prints[0] == prints[3]


# --- TFRecord ----------------------------------------------------------------------------------------


def write_levels(folder: Path, name: str = "faces") -> str:
    folder.mkdir(exist_ok=True)
    for level, step in ((1, 4), (2, 2), (3, 1)):
        write_tfrecords(folder / f"{name}-r{level:02d}.tfrecords", PICTURES[:, ::step, ::step])
    return str(folder)


@pytest.mark.parametrize("name", ["", "/faces", "/faces-r03.tfrecords", "/*.tfrecords"])
def test_of_tfrecords_the_finest_is_taken(tmp_path: Path, name: str) -> None:
    source = open_source(write_levels(tmp_path / "records") + name)
    assert ids(source) == ["00000000", "00000001", "00000002"]
    assert (source.channels, source.label_count) == (3, 0)
    assert source.chunks is not None and source.chunks.tolist() == [0, 0, 0]
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(source.load(row), picture)


def test_tfrecords_in_parts_follow_each_other(tmp_path: Path) -> None:
    for part, picture in enumerate(PICTURES):
        write_tfrecords(tmp_path / f"faces-r03.tfrecords.{part:03d}", [picture])
        write_tfrecords(tmp_path / f"faces-r02.tfrecords.{part:03d}", [picture[::2, ::2]])
    source = open_source(str(tmp_path))
    assert source.chunks is not None and source.chunks.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(source.load(2), PICTURES[2])


def test_gray_tfrecords_stay_gray(tmp_path: Path) -> None:
    source = open_source(write_tfrecords(tmp_path / "a-r03.tfrecords", PICTURES[:, :, :, :1]))
    assert source.channels == 1
    np.testing.assert_array_equal(source.load(1), PICTURES[1, :, :, :1])


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([2, 0, -1]), [2, 0, -1]),
        (np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], np.float32), [2, 0, -1]),
    ],
)
def test_labels_beside_tfrecords_are_numbers_or_one_hot(
    tmp_path: Path, stored: np.ndarray, expected: list[int]
) -> None:
    folder = write_levels(tmp_path / "records")
    with open(f"{folder}/faces-rxx.labels", "wb") as file:
        np.save(file, stored)
    assert labels(open_source(folder)) == expected


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_levels(tmp_path / "records")
    path = Path(f"{folder}/faces-rxx.labels")
    for stored in (np.zeros(2, int), np.full((3, 2), 0.5), np.ones((3, 2))):
        with path.open("wb") as file:
            np.save(file, stored)
        with pytest.raises(ValueError, match=r"it must be integers \[3\] or one-hot \[3, classes\]; remove it"):
            open_source(folder)
    for data in (b"", b"x"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is not a plain array of labels"):
            open_source(folder)


def test_tfrecords_of_several_sets_are_distinguished(tmp_path: Path) -> None:
    write_levels(tmp_path, "faces")
    folder = write_levels(tmp_path, "cars")
    with pytest.raises(ValueError, match=r"holds TFRecords of several sets; name one of .*/cars, .*/faces"):
        open_source(folder)
    assert len(open_source(f"{folder}/cars")) == 3


@pytest.mark.parametrize("offset", [-20, -2])
def test_a_damaged_record_is_rejected_and_stops_no_other(tmp_path: Path, offset: int) -> None:
    path = Path(write_tfrecords(tmp_path / "a-r03.tfrecords", PICTURES))
    data = bytearray(path.read_bytes())
    data[2 * len(data) // 3 + offset] ^= 1
    path.write_bytes(data)
    source = open_source(str(path))
    with pytest.raises(ImageRejectedError, match="damaged in the TFRecord: its checksum is wrong"):
        source.load(1)
    for row in (0, 2):
        np.testing.assert_array_equal(source.load(row), PICTURES[row])


def test_records_that_cannot_be_separated_are_refused(tmp_path: Path) -> None:
    path = Path(write_tfrecords(tmp_path / "a-r03.tfrecords", PICTURES))
    whole = path.read_bytes()
    size = len(whole) // 3
    for broken in (whole[:-1], whole[: 2 * size + 7], whole[: 2 * size] + b"\xff" + whole[2 * size + 1 :]):
        path.write_bytes(broken)
        sentence = rf"a-r03\.tfrecords is damaged or cut short at record 2 \(byte {2 * size:,}\)"
        with pytest.raises(ValueError, match=sentence):
            open_source(str(path))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff", "holds no image with shape and data"),
        (b"", "holds no image with shape and data"),
        (example(PICTURES[0])[:-3], "holds no image with shape and data"),
        (example(PICTURES[0].reshape(8, 24, 1)).replace(bytes([1, 8, 24]), bytes([1, 7, 24])), "which must be"),
    ],
)
def test_a_record_without_a_raw_image_is_rejected(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a-r03.tfrecords").write_bytes(record(data) + record(example(PICTURES[1])))
    source = open_source(str(tmp_path))
    np.testing.assert_array_equal(source.load(1), PICTURES[1])
    with pytest.raises(ImageRejectedError, match=reason):
        source.load(0)


def test_the_fingerprint_of_tfrecords_follows_the_pixels(tmp_path: Path) -> None:
    def fingerprint(images: np.ndarray) -> str:
        return open_source(write_tfrecords(tmp_path / "a-r03.tfrecords", images)).fingerprint

    first = fingerprint(PICTURES)
    assert fingerprint(PICTURES ^ 1) != first and fingerprint(PICTURES) == first


def test_the_checksums_are_those_of_the_format() -> None:
    """The bytes of the empty record follow from the definition: CRC-32C of eight zero bytes is 0x8C28B28A."""
    crc = 0x8C28B28A
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert record(b"")[8:12] == struct.pack("<I", masked)
