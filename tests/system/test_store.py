"""Guarantees and error messages of storage, on local disk and on an S3 server."""

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import storage
from pipelines.data.describe import describe
from pipelines.data.domains import is_pair
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.domains import pack_domains
from pipelines.data.pack.pack import pack
from pipelines.data.verify import verify
from tests.support.store import SECRET, free_port, on_both_stores, set_s3_environment

pytestmark = pytest.mark.store
pytest_generate_tests = on_both_stores


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.files, "RETRY_WAITS_S", (0.0, 0.0))


@pytest.fixture
def npz(tmp_path: Path) -> str:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    np.savez(tmp_path / "source.npz", images=images, labels=np.arange(20) % 3)
    return str(tmp_path / "source.npz")


def test_a_local_write_leaves_only_the_file_and_returns_its_hash(tmp_path: Path) -> None:
    url = str(tmp_path / "a" / "b.bin")
    digest = storage.write_bytes_verified(url, b"123")
    assert storage.read_bytes(url) == b"123"
    assert digest == storage.sha256(url)
    assert os.listdir(tmp_path / "a") == ["b.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_local_write_that_stops_at_any_step_keeps_the_old_file_whole(
    tmp_path: Path, no_waits: None, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    url = str(tmp_path / "state.bin")
    storage.write_bytes_verified(url, b"old")

    def full_disk(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(RuntimeError, match=r"could not write .*state\.bin in 3 attempts; .*No space left"):
        storage.write_bytes_verified(url, b"new and longer")
    assert storage.read_bytes(url) == b"old"
    assert os.listdir(tmp_path) == ["state.bin"]


def test_a_write_that_fails_twice_succeeds_on_the_third_try(
    s3: str, no_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = storage.open_filesystem(s3)
    write, tries = fs.pipe_file, []

    def twice_lost(path: str, data: bytes, **limit: float) -> None:
        tries.append(path)
        if len(tries) == 3:
            write(path, data)

    monkeypatch.setattr(fs, "pipe_file", twice_lost)
    storage.write_bytes_verified(f"{s3}/x", b"kept")
    assert storage.read_bytes(f"{s3}/x") == b"kept"
    assert len(tries) == 3


def test_a_store_that_loses_what_was_written_is_found_out(
    s3: str, no_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = storage.open_filesystem(s3)
    monkeypatch.setattr(fs, "pipe_file", lambda path, data, **limit: None)
    with pytest.raises(RuntimeError, match=r"could not write s3://.*/lost in 3 attempts"):
        storage.write_bytes_verified(f"{s3}/lost", b"data")


def test_a_store_that_changes_a_byte_of_an_upload_is_found_out(
    s3: str, npz: str, no_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = storage.open_filesystem(s3)
    data = bytearray(Path(npz).read_bytes())
    data[100] ^= 1
    monkeypatch.setattr(fs, "put_file", lambda local, path, **limit: fs.pipe_file(path, bytes(data)))
    with pytest.raises(RuntimeError, match="reads back differently"):
        storage.upload_verified(npz, f"{s3}/changed")


def test_of_many_writers_who_all_saw_nothing_one_writes_a_file_that_is_written_once(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.files, "exists", lambda url: False)
    for root in (f"{s3}/runs", str(tmp_path / "runs")):
        with ThreadPoolExecutor(16) as writers:
            list(writers.map(lambda n, url=f"{root}/claim": storage.write_once(url, b"%d" % n), range(16)))
        winner = storage.read_bytes(f"{root}/claim")
        assert winner in {b"%d" % n for n in range(16)}
        storage.write_once(f"{root}/claim", b"later")
        assert storage.read_bytes(f"{root}/claim") == winner
        assert storage.list_dir(root) == ["claim"]


def test_listing_deleting_and_json_work_alike_here_and_on_s3(s3: str, tmp_path: Path) -> None:
    for root in (s3, str(tmp_path)):
        storage.write_json_verified(f"{root}/run 1/a%20b.json", {"x": 1})
        storage.write_bytes_verified(f"{root}/run 1/sub/c", b"22")
        assert storage.read_json(f"{root}/run 1/a%20b.json") == {"x": 1}
        assert storage.list_dir(f"{root}/run 1") == ["a%20b.json", "sub"]
        assert storage.list_files(f"{root}/run 1")["sub/c"] == 2
        assert storage.exists(f"{root}/run 1") and not storage.exists(f"{root}/run 2")
        fs, path = storage.pyarrow_filesystem(f"{root}/run 1/a%20b.json")
        assert json.loads(fs.open_input_file(path).read()) == {"x": 1}
        storage.delete_file(f"{root}/run 1/a%20b.json")
        storage.delete_file(f"{root}/run 1/a%20b.json")
        assert storage.list_dir(f"{root}/run 1") == ["sub"]
        storage.delete_tree(f"{root}/run 1")
        storage.delete_tree(f"{root}/run 1")
        assert storage.list_dir(f"{root}/run 1") == []


def test_the_write_check_leaves_nothing_behind(s3: str, tmp_path: Path) -> None:
    for root in (f"{s3}/runs", str(tmp_path / "runs")):
        storage.check_writable(root)
        assert storage.list_dir(root) == []


def test_the_root_of_a_bucket_or_disk_is_not_deleted(s3: str) -> None:
    storage.write_bytes_verified(f"{s3}/kept", b"1")
    for root in (s3, f"{s3}/", "/"):
        with pytest.raises(storage.StorageError, match="not deleted"):
            storage.delete_tree(root)
    assert storage.list_dir(s3) == ["kept"]


def test_a_missing_bucket_is_named_whatever_is_asked_of_it(s3: str, tmp_path: Path) -> None:
    url = "s3://no-such-bucket/data"
    sentence = "bucket 'no-such-bucket' does not exist or is not visible .*; create it or check AWS_ENDPOINT_URL"
    asked = [
        lambda: storage.check_writable(url),
        lambda: storage.read_json(url),
        lambda: storage.list_dir(url),
        lambda: storage.list_files(url),
        lambda: storage.write_bytes_verified(url, b"1"),
        lambda: Dataset.open(url),
        lambda: pack(f"{url}/source.zip", str(tmp_path / "d")),
        lambda: pack(f"{url}/folder", str(tmp_path / "d")),
    ]
    for ask in asked:
        with pytest.raises(storage.StorageNotFoundError, match=sentence):
            ask()


def test_a_missing_object_is_not_blamed_on_the_bucket(s3: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^{s3}/x does not exist$"):
        storage.read_bytes(f"{s3}/x")


def test_a_name_that_no_bucket_can_have_is_a_sentence(s3: str) -> None:
    with pytest.raises(storage.StorageError, match="'No_Bucket!' is not a valid bucket name"):
        storage.check_writable("s3://No_Bucket!/x")


def test_an_unreachable_endpoint_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    set_s3_environment(monkeypatch, f"http://user:hidden@127.0.0.1:{port}")
    with storage.patience(0), pytest.raises(storage.StorageUnreachableError) as caught:
        storage.check_writable("s3://bucket/runs")
    message = str(caught.value)
    assert f"http://127.0.0.1:{port} does not answer; check AWS_ENDPOINT_URL" in message
    assert "hidden" not in message and SECRET not in message


def test_missing_credentials_say_which_variables_to_set(
    s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(PermissionError, match="no complete credentials found; set AWS_ACCESS_KEY_ID and"):
        storage.check_writable(f"{s3}/runs")
    s3fs.S3FileSystem.clear_instance_cache()


def test_refused_credentials_become_a_sentence_without_them(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, _ = storage.open_filesystem(s3)

    def refuse(path: str, data: bytes, **limit: float) -> None:
        raise PermissionError(f"The key {SECRET} is not known")

    monkeypatch.setattr(fs, "pipe_file", refuse)
    with pytest.raises(storage.StorageDeniedError, match=r"access denied by .*; the credentials are wrong") as caught:
        storage.check_writable(s3)
    assert SECRET not in str(caught.value)


def test_an_address_that_holds_a_secret_is_refused_and_not_repeated() -> None:
    for url in ("s3://key:hidden@bucket/x", "s3://bucket/x?access_key=a&secret_key=hidden"):
        with pytest.raises(storage.StorageError, match="contains credentials") as caught:
            storage.open_filesystem(url)
        assert "hidden" not in str(caught.value)


def test_an_unknown_scheme_says_what_to_use() -> None:
    with pytest.raises(storage.StorageError, match=r"nope://x: .*use a local path or s3://"):
        storage.read_bytes("nope://x")


def test_a_file_where_a_folder_is_wanted_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for url in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(storage.StorageError, match="is or lies under a file; name a folder"):
            storage.check_writable(str(url))


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(storage.StorageError, match=r"x\.json is not valid JSON"):
        storage.read_json(str(tmp_path / "x.json"))


def test_a_dataset_packs_to_s3_and_reads_back_as_packed_here(s3: str, npz: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"validation_fraction": 0.2, "rows_per_group": 4, "rows_per_shard": 8}
    here, there = str(tmp_path / "here"), f"{s3}/sets/digits"
    local, remote = pack(npz, here, **options), pack(npz, there, **options)
    assert remote.manifest == local.manifest
    assert remote.rows == {"train": 16, "validation": 4}
    assert pack(npz, there, **options).already_done
    assert verify(there) == []
    assert "train 16, validation 4\n" in describe(there)
    rows = np.array([15, 0, 7, 7])
    split = pickle.loads(pickle.dumps(Dataset.open(there))).split("train")
    np.testing.assert_array_equal(split.read(8, rows), Dataset.open(here).split("train").read(8, rows))


def test_a_source_on_s3_gives_the_same_dataset_as_here(s3: str, npz: str, tmp_path: Path) -> None:
    storage.upload_verified(npz, f"{s3}/in/source.npz")
    here = pack(npz, str(tmp_path / "here"))
    there = pack(f"{s3}/in/source.npz", str(tmp_path / "there"))
    assert there.manifest.splits == here.manifest.splits


def test_two_domains_pack_to_s3_and_are_known_and_verified_there(s3: str, npz: str) -> None:
    for _ in range(2):
        reports = pack_domains(npz, f"{s3}/pair", second=npz)
    assert all(report.already_done for report in reports)
    assert verify(f"{s3}/pair") == [] and is_pair(f"{s3}/pair")
    storage.delete_file(f"{s3}/pair/b/{reports[1].manifest.splits['train'].shards[0].path}")
    assert verify(f"{s3}/pair") == ["b/train/shard_00000.parquet is missing"]
    storage.delete_file(f"{s3}/pair/b/manifest.json")
    with pytest.raises(ValueError, match="pair/b is not a packed dataset"):
        verify(f"{s3}/pair")


def test_verify_names_a_shard_that_is_missing_on_s3(s3: str, npz: str) -> None:
    pack(npz, f"{s3}/d")
    storage.delete_file(f"{s3}/d/train/shard_00000.parquet")
    assert verify(f"{s3}/d") == ["train/shard_00000.parquet is missing"]
    with pytest.raises(RuntimeError, match=r"shard_00000\.parquet does not exist, but the manifest names it"):
        Dataset.open(f"{s3}/d").split("train").read(8, np.array([0]))
