"""A store that does not answer: work waits and continues, checks fail at once, and the store never counts as empty."""

import importlib
import logging
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import presets, storage
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.run import Run
from pipelines.storage.patience import patience_s
from pipelines.storage.patient_s3 import PatientS3
from pipelines.training import trainer
from tests.support.packed import SMALL
from tests.support.proxy import SlowStore
from tests.support.store import free_port, set_s3_environment

pytestmark = pytest.mark.store
OUTAGE_S = 4.0
"""Seconds of an outage, longer than the retries of the clients themselves."""
waiting = importlib.import_module("pipelines.storage.patience")  # the package's function `patience` hides the module

Ask = Callable[[str], Any]
ASKED: dict[str, Ask] = {
    "exists": storage.exists,
    "size": storage.size,
    "read_bytes": storage.read_bytes,
    "sha256": storage.sha256,
    "list_dir": storage.list_dir,
    "list_files": storage.list_files,
    "write": lambda url: storage.write_bytes_verified(url, b"new"),
    "write_once": lambda url: storage.write_once(url, b"new"),
    "delete_file": storage.delete_file,
    "delete_tree": storage.delete_tree,
    "checkpoints": checkpoint.latest,
    "dataset": Dataset.open,
    "pyarrow": lambda url: _pyarrow_read(*storage.pyarrow_filesystem(url)),
}


def _pyarrow_read(fs: Any, path: str) -> bytes:
    with storage.explained(f"s3://{path}"):
        return fs.open_input_file(path).read()


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowStore]:
    with SlowStore(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket whose endpoint, set in the environment, has no listener."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    set_s3_environment(monkeypatch, endpoint)
    return endpoint


@pytest.fixture
def never_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(seconds: float) -> None:
        raise AssertionError("waited for")

    monkeypatch.setattr(waiting.time, "sleep", refuse)


def test_everything_asked_in_an_outage_is_answered_after_it_and_the_outage_is_logged_once(
    s3: str, proxy: SlowStore, caplog: pytest.LogCaptureFixture
) -> None:
    storage.write_bytes_verified(f"{s3}/d/x", b"old")
    storage.write_bytes_verified(f"{s3}/e/x", b"old")
    proxy.down(OUTAGE_S)
    with caplog.at_level(logging.WARNING, "pipelines"), ThreadPoolExecutor(5) as threads:
        read = threads.submit(storage.read_bytes, f"{s3}/d/x")
        sizes = threads.submit(storage.list_files, f"{s3}/d")
        names = threads.submit(storage.list_dir, s3)
        threads.submit(storage.write_bytes_verified, f"{s3}/f/y", b"new")
        threads.submit(storage.delete_tree, f"{s3}/e")
    assert (read.result(), sizes.result()) == (b"old", {"x": 3}) and "d" in names.result()
    assert storage.list_dir(s3) == ["d", "f"] and storage.read_bytes(f"{s3}/f/y") == b"new"
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2 and "does not answer" in logged[0] and "answers again after" in logged[1], logged


def test_shards_are_read_through_an_outage(s3: str, npz: str, proxy: SlowStore, tmp_path: Path) -> None:
    pack(npz, f"{s3}/d", **SMALL)
    split = Dataset.open(f"{s3}/d").split("train")
    rows = np.arange(split.rows)
    before = split.read(8, rows)
    proxy.down(OUTAGE_S)
    np.testing.assert_array_equal(split.read(8, rows), before)
    proxy.down(OUTAGE_S)
    np.testing.assert_array_equal(Dataset.open(f"{s3}/d").split("train").read(8, rows), before)


def test_a_filesystem_waits_in_the_process_that_it_is_sent_to(s3: str, proxy: SlowStore) -> None:
    """Ray's controller receives a pickled filesystem and writes its own record of the run with it."""
    fs, path = pickle.loads(pickle.dumps(storage.pyarrow_filesystem(f"{s3}/x")))
    proxy.down(OUTAGE_S)
    with fs.open_output_stream(path) as stream:
        stream.write(b"1")
    assert storage.read_bytes(f"{s3}/x") == b"1"


def test_ray_is_given_the_filesystem_that_waits_for_its_own_record_of_a_run(s3: str) -> None:
    settings = [f"training.storage={s3}/runs", f"data.path={s3}/d"]
    experiment = override(presets.load("debug_mnist32_style_alae"), settings)
    config = trainer._trainer(experiment, Run.of(experiment)).run_config
    assert isinstance(config.storage_filesystem, PatientS3)
    assert config.storage_path == f"{s3}/runs".removeprefix("s3://")


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_without_patience_a_dead_store_is_named_at_once_and_never_taken_for_an_empty_one(
    dead: str, never_waiting: None, ask: Ask
) -> None:
    with storage.patience(0), pytest.raises(storage.StorageUnreachableError, match=f"{dead} does not answer"):
        ask("s3://bucket/x")


def test_patience_ends_and_says_how_long_it_waited(dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_S", 1.0)
    for ask in (ASKED["read_bytes"], ASKED["write"]):
        with pytest.raises(
            storage.StorageUnreachableError, match=rf"{dead} does not answer; .* \(waited \d+ s for it\)"
        ):
            ask("s3://bucket/x")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An endpoint that accepts connections but neither reads nor answers."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        set_s3_environment(monkeypatch, f"http://127.0.0.1:{store.getsockname()[1]}")
        yield


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("length", [10, 50_000_000], ids=["small", "large"])
def test_an_upload_to_a_store_that_takes_it_and_says_nothing_is_given_up(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.files, "SILENCE_S", 1.0)
    monkeypatch.setattr(storage.files, "SLOWEST_BYTES_PER_S", 1e9)
    with storage.patience(0), pytest.raises(storage.StorageUnreachableError, match="does not answer"):
        storage.write_bytes_verified("s3://bucket/x", bytes(length))


@pytest.mark.usefixtures("never_waiting")
@pytest.mark.parametrize("place", ["data.path", "training.storage"])
def test_a_training_whose_store_is_dead_is_refused_at_once(
    dead: str, tiny_dataset: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"data.path": tiny_dataset, "training.storage": tmp_path} | {place: "s3://bucket/x"}
    settings = [f"{name}={value}" for name, value in places.items()]
    monkeypatch.setattr(trainer, "connect", lambda: pytest.fail("Ray was started"))
    with pytest.raises(storage.StorageUnreachableError, match=f"{dead} does not answer; check AWS_ENDPOINT_URL"):
        trainer.train(override(presets.load("debug_mnist32_style_alae"), settings))


@pytest.mark.usefixtures("never_waiting")
def test_a_packing_whose_store_is_dead_is_refused_at_once(dead: str, npz: str, tmp_path: Path) -> None:
    for source, dest in ((npz, "s3://bucket/d"), ("s3://bucket/images", str(tmp_path / "d"))):
        with pytest.raises(storage.StorageUnreachableError, match=f"{dead} does not answer; check AWS_ENDPOINT_URL"):
            pack(source, dest)


def test_missing_things_and_refused_credentials_are_not_waited_for(
    s3: str, never_waiting: None, tmp_path: Path
) -> None:
    for ask in (storage.read_bytes, storage.list_dir, ASKED["write"]):
        with pytest.raises(storage.StorageNotFoundError):
            ask("s3://no-such-bucket/x")
    with pytest.raises(FileNotFoundError):
        storage.size(f"{s3}/nothing")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "nothing"))


def test_threads_wait_even_when_they_are_started_from_a_check() -> None:
    seen: list[float] = []
    with storage.patience(0):
        thread = threading.Thread(target=lambda: seen.append(patience_s()))
        thread.start()
        thread.join()
        assert patience_s() == 0
    assert seen == [patience_s()] == [waiting.PATIENCE_S]


def test_only_the_outermost_of_functions_that_wait_does_so(dead: str) -> None:
    assert patience_s() > 0
    assert storage.patiently(lambda url: patience_s())("s3://bucket/x") == 0
