"""Known traps of S3 clients and stores, and proof that our own functions avoid them."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow.fs
import pytest
import s3fs.core

from pipelines import storage
from pipelines.storage.address import bucket_and_key, endpoint_url
from tests.support.proxy import SlowStore
from tests.support.store import KEY, SECRET, both_stores, free_port

pytestmark = pytest.mark.store
OLD, NEW = b"old", b"new" * 4_000_000
CUT_AT_BYTES = 2**20

on_ceph = pytest.mark.parametrize("s3", ["ceph"], indirect=True)


def through_pyarrow(url: str, data: bytes) -> bytes:
    """Write and read a file as Ray does in a run's folder."""
    fs, path = storage.pyarrow_filesystem(url)
    with fs.open_output_stream(path) as stream:
        stream.write(data)
    return fs.open_input_file(path).read()


@on_ceph
def test_uploads_of_pyarrow_are_not_sent_in_the_form_that_older_stores_refuse(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert through_pyarrow(f"{s3}/x", b"whole") == b"whole"
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")  # a user's own choice is kept
    with pytest.raises(OSError, match="411"):
        through_pyarrow(f"{s3}/y", b"refused")


@on_ceph
def test_a_filesystem_sent_to_another_process_prepares_it_too(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, path = storage.pyarrow_filesystem(f"{s3}/x")
    sent = pickle.dumps(fs)
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")
    with pickle.loads(sent).open_output_stream(path) as stream:
        stream.write(b"whole")
    assert storage.read_bytes(f"{s3}/x") == b"whole"


def test_a_filesystem_sent_to_another_process_is_the_same_and_carries_no_credentials(s3: str) -> None:
    fs, _ = storage.pyarrow_filesystem(s3)
    sent = pickle.dumps(fs)
    assert pickle.loads(sent) == fs == storage.pyarrow_filesystem(f"{s3}/elsewhere")[0]
    assert SECRET.encode() not in sent and KEY.encode() not in sent


@pytest.fixture
def named(request: pytest.FixtureRequest, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A bucket whose endpoint is set in only one way; every other way names a dead endpoint or none."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    dead = f"http://127.0.0.1:{free_port()}"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    variables = {
        "variable": {"AWS_ENDPOINT_URL": endpoint},
        "variable of the service": {"AWS_ENDPOINT_URL": dead, "AWS_ENDPOINT_URL_S3": endpoint},
        "profile": {"AWS_PROFILE": "plain"},
        "service of a profile": {"AWS_PROFILE": "serviced"},
    }
    (tmp_path / "config").write_text(
        f"[default]\nendpoint_url = {dead}\n"
        f"[profile plain]\nendpoint_url = {endpoint}\n"
        f"[profile serviced]\nendpoint_url = {dead}\nservices = local\n"
        f"[services local]\ns3 =\n  endpoint_url = {endpoint}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in variables[request.param].items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.mark.parametrize(
    "named", ["variable", "variable of the service", "profile", "service of a profile"], indirect=True
)
def test_every_client_talks_to_the_endpoint_wherever_it_is_named(named: str) -> None:
    with storage.patience(0):
        storage.write_bytes_verified(f"{named}/x", b"here")
        fs, path = storage.pyarrow_filesystem(f"{named}/x")
    assert fs.open_input_file(path).read() == b"here"


def test_without_a_named_endpoint_pyarrow_is_given_the_region_of_the_bucket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(pyarrow.fs, "resolve_s3_region", {"bucket": "eu-north-1"}.__getitem__)
    assert endpoint_url() is None
    assert storage.pyarrow_filesystem("s3://bucket/x")[0].region == "eu-north-1"


def test_a_profile_that_is_not_there_is_a_sentence(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(storage.StorageDeniedError, match=r"AWS_PROFILE names a profile that .* do not have"):
        storage.read_bytes(f"{s3}/x")


@both_stores
def test_another_region_in_the_environment_is_no_hindrance(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    s3fs.core.S3FileSystem.clear_instance_cache()
    storage.write_bytes_verified(f"{s3}/x", b"1")
    assert through_pyarrow(f"{s3}/y", b"2") == b"2"


@both_stores
def test_what_another_process_writes_is_seen_at_once(s3: str) -> None:
    bucket, _ = bucket_and_key(s3)
    other = boto3.client("s3")
    assert storage.list_dir(f"{s3}/d") == [] and storage.list_files(f"{s3}/d") == {}
    assert not storage.exists(f"{s3}/d/x")
    other.put_object(Bucket=bucket, Key="d/x", Body=b"1")
    assert storage.list_dir(f"{s3}/d") == ["x"] and storage.list_files(f"{s3}/d") == {"x": 1}
    assert storage.exists(f"{s3}/d/x")
    other.put_object(Bucket=bucket, Key="d/x", Body=b"22")
    assert storage.size(f"{s3}/d/x") == 2 and storage.read_bytes(f"{s3}/d/x") == b"22"
    other.delete_object(Bucket=bucket, Key="d/x")
    assert not storage.exists(f"{s3}/d/x") and storage.list_dir(f"{s3}/d") == []


@both_stores
@pytest.mark.parametrize("name", ["50%25 off", "a+b c", "d=1&e", "ü ß", "#1", "x:y"])
def test_no_character_of_a_name_is_taken_for_an_escape(s3: str, name: str) -> None:
    url = f"{s3}/{name}/{name}.bin"
    storage.write_bytes_verified(url, b"1")
    assert through_pyarrow(f"{url}.2", b"2") == storage.read_bytes(f"{url}.2") == b"2"
    fs, path = storage.pyarrow_filesystem(url)
    assert fs.open_input_file(path).read() == b"1"
    assert storage.list_dir(f"{s3}/{name}") == [f"{name}.bin", f"{name}.bin.2"]


@pytest.fixture
def cut_off(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket whose store stops for good after one megabyte of an upload."""
    store = os.environ["AWS_ENDPOINT_URL"]
    with SlowStore(store) as proxy:
        storage.write_bytes_verified(f"{s3}/x", OLD)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.cut_after(CUT_AT_BYTES)
        yield s3
        assert proxy.bytes_up >= CUT_AT_BYTES
        monkeypatch.setenv("AWS_ENDPOINT_URL", store)
        assert storage.read_bytes(f"{s3}/x") == OLD
        assert storage.list_dir(s3) == ["x"]


@both_stores
@pytest.mark.parametrize("parts", [False, True], ids=["whole", "in parts"])
def test_an_upload_that_is_cut_off_raises_and_leaves_what_was_there(
    cut_off: str, parts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parts:
        monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 * 2**20)
    (tmp_path / "new").write_bytes(NEW)
    for name in ("x", "y"):
        with storage.patience(0), pytest.raises(storage.StorageUnreachableError, match="does not answer"):
            storage.upload_verified(tmp_path / "new", f"{cut_off}/{name}")


def test_an_upload_whose_end_was_lost_on_the_way_back_is_repeated(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats the request to complete a completed upload, and the store answers that it does not exist."""
    (tmp_path / "new").write_bytes(NEW)
    fs, _ = storage.open_filesystem(s3)
    put, tries = fs.put_file, []

    def no_such_upload(local: str, path: str, **limit: float) -> None:
        tries.append(path)
        put(local, path)
        if len(tries) == 1:
            raise FileNotFoundError("The specified multipart upload does not exist.")

    monkeypatch.setattr(fs, "put_file", no_such_upload)
    monkeypatch.setattr(storage.files, "RETRY_WAITS_S", (0.0, 0.0))
    storage.upload_verified(tmp_path / "new", f"{s3}/x")
    assert len(tries) == 2 and storage.read_bytes(f"{s3}/x") == NEW
