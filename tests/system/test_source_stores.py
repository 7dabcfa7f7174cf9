"""Every kind of source is the same on this machine and in a store, in another process, and from many threads."""

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipelines import storage
from pipelines.data.pack.pack import pack
from pipelines.sources import Source, chunks, copies, open_source, ranges
from tests.support.made_images import (
    pictures,
    png,
    write_faces,
    write_folder,
    write_lmdb,
    write_mnist,
    write_tar,
    write_tfrecords,
    write_zip,
)

PICTURES = pictures(12, 8, 8)
NAMES = [f"{'cat' if number < 6 else 'dog'}/{number:02d}.png" for number in range(12)]
FILES = {name: png(picture) for name, picture in zip(NAMES, PICTURES, strict=True)}
METADATA = "file_name,age\n" + "".join(f"{name},{number}\n" for number, name in enumerate(NAMES))
DESCRIBED = FILES | {"metadata.csv": METADATA.encode()}
AGES = {"age": list(range(12))}


def write_npz(path: Path) -> str:
    np.savez(path, images=PICTURES, labels=np.arange(12) % 2, age=np.arange(12))
    return str(path)


def write_shards(folder: Path) -> str:
    folder.mkdir()
    samples: dict[str, bytes] = {}
    for number, picture in enumerate(PICTURES):
        said = {"png": png(picture), "cls": b"%d" % (number % 2), "json": b'{"age": %d}' % number}
        samples |= {f"{number:02d}.{ending}": data for ending, data in said.items()}
    names = list(samples)
    write_tar(folder / "s-0.tar", {name: samples[name] for name in names[:18]})
    write_tar(folder / "s-1.tar", {name: samples[name] for name in names[18:]})
    return str(folder)


def write_tables(folder: Path) -> str:
    folder.mkdir()
    for part in (0, 6):
        files = {name: FILES[name] for name in NAMES[part : part + 6]}
        write_faces(folder / f"{part}.parquet", files, label=[0, 1] * 3, age=list(range(part, part + 6)))
    return str(folder)


def write_records(folder: Path) -> str:
    folder.mkdir()
    write_tfrecords(folder / "a-r03.tfrecords.000", PICTURES[:6])
    write_tfrecords(folder / "a-r03.tfrecords.001", PICTURES[6:])
    file = io.BytesIO()
    np.save(file, np.arange(12) % 2)
    (folder / "a-rxx.labels").write_bytes(file.getvalue())
    return str(folder)


def write_digits(root: Path) -> str:
    return f"torchvision:MNIST?root={write_mnist(root, pictures(4, 28, 28)[:, :, :, 0])}"


LOCAL_ONLY = {"torchvision": write_digits}
KINDS: dict[str, Callable[[Path], str]] = {
    "folder": lambda root: write_folder(root / "a", DESCRIBED),
    "zip": lambda root: write_zip(root / "a.zip", DESCRIBED),
    "tar": lambda root: write_tar(root / "a.tar", DESCRIBED),
    "tar.gz": lambda root: write_tar(root / "a.tar.gz", DESCRIBED),
    "tars": lambda root: write_shards(root / "a"),
    "npz": lambda root: write_npz(root / "a.npz"),
    "LMDB": lambda root: write_lmdb(root / "a", {name.encode(): data for name, data in FILES.items()}),
    "Parquet": lambda root: write_tables(root / "a"),
    "TFRecord": lambda root: write_records(root / "a"),
}


@pytest.fixture(params=[*KINDS, *LOCAL_ONLY])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 1500)
    return open_source((KINDS | LOCAL_ONLY)[request.param](tmp_path))


def uploaded(path: str, url: str) -> str:
    """Copy a local file or folder below `url` and return its address there."""
    fs, root = storage.open_filesystem(url)
    fs.put(path, f"{root}/{Path(path).name}", recursive=Path(path).is_dir())
    return f"{url}/{Path(path).name}"


def assert_same(found: Source, expected: Source) -> None:
    assert found.index.equals(expected.index) and found.attributes.equals(expected.attributes)
    assert found.fingerprint == expected.fingerprint and found.label_names == expected.label_names
    assert (found.kind, found.channels, found.skipped) == (expected.kind, expected.channels, expected.skipped)
    assert numbers(found) == numbers(expected)


def numbers(source: Source) -> list[int] | None:
    return None if source.chunks is None else source.chunks.tolist()


@pytest.mark.store
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_in_a_store_is_the_same_as_on_this_machine(
    kind: str, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 1500)
    path = KINDS[kind](tmp_path)
    url = uploaded(path, f"{s3}/with space")
    here, there = open_source(path), open_source(url)
    assert_same(there, here)
    assert kind in ("LMDB", "TFRecord") or here.attributes.to_pydict() == AGES
    for row, picture in enumerate(PICTURES):
        np.testing.assert_array_equal(there.load(row), picture)
    packed = [pack(name, str(tmp_path / f"packed{n}"), executor="here") for n, name in enumerate((path, url))]
    assert packed[0].manifest.splits == packed[1].manifest.splits and packed[0].rows == {"train": 12}


def test_any_fsspec_store_will_do(tmp_path: Path) -> None:
    path = KINDS["tars"](tmp_path)
    fs = fsspec.filesystem("memory")
    fs.put(path, "/shards", recursive=True)
    for name in ("memory://shards", "memory://shards/s-{0..1}.tar", "memory://shards/*.tar"):
        assert_same(open_source(name), open_source(path))


def test_a_source_is_the_same_in_another_process_and_there_opens_its_files_anew(source: Source) -> None:
    source.load(0)
    copy = pickle.loads(pickle.dumps(source))
    assert_same(copy, source)
    for row in range(len(source)):
        np.testing.assert_array_equal(copy.load(row), source.load(row))
    kept = getattr(source.reader, "_kept", None)
    assert kept is None or len(pickle.dumps(source.reader)) < 2000


def test_many_threads_may_read_at_once(source: Source) -> None:
    rows = np.random.default_rng(0).integers(0, len(source), 200).tolist()
    expected = [source.load(row) for row in range(len(source))]
    fresh = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as threads:
        for row, pixels in zip(rows, threads.map(fresh.load, rows), strict=True):
            np.testing.assert_array_equal(pixels, expected[row])


@pytest.mark.store
def test_each_member_of_a_zip_is_one_request_and_the_zip_is_never_copied(
    tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "BLOCK_BYTES", 2**16)
    path = write_zip(tmp_path / "a.zip", {"big.png": png(pictures(1, 300, 300)[0])} | FILES)
    asked: list[int] = []
    ask = ranges._ask
    monkeypatch.setattr(ranges, "_ask", lambda url, start, stop: (asked.append(stop - start), ask(url, start, stop))[1])
    source = open_source(uploaded(path, s3))
    assert sum(asked) < Path(path).stat().st_size / 2
    asked.clear()
    for row in (1, 5, 1):
        source.load(row)
    assert len(asked) == 3


@pytest.mark.store
def test_what_must_be_copied_is_copied_once(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = uploaded(KINDS["LMDB"](tmp_path), s3)
    source = open_source(url)
    monkeypatch.setattr(storage, "download", lambda *_: pytest.fail("it was copied again"))
    np.testing.assert_array_equal(source.load(3), PICTURES[3])
    assert copies.local_folder(url) == copies.local_folder(url)
    assert sorted(path.name for path in copies.local_folder(url).iterdir()) == ["data.mdb", "lock.mdb"]


@pytest.mark.store
@pytest.mark.parametrize("name", ["a", "a.zip", "a.npz", "a.tar", "a.tgz", "a.parquet", "a-r03.tfrecords", "*.tar"])
def test_what_is_missing_in_a_store_is_said_in_a_sentence(s3: str, name: str) -> None:
    with pytest.raises(
        storage.StorageNotFoundError, match=r"^source s3://.* (does not exist|matches no file); a source is"
    ):
        open_source(f"{s3}/{name}")
    with pytest.raises(storage.StorageNotFoundError, match=r"bucket '[\w-]+-none' does not exist"):
        open_source(f"{s3}-none/{name}")
