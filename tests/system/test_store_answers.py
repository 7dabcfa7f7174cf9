"""Error answers of a store as sentences: a wrong key, a busy store, and unforeseen answers."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import presets, storage
from pipelines.cli import check
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.experiment.override import override
from pipelines.training import preflight
from tests.support.packed import SMALL
from tests.support.store import KEY, SECRET, set_s3_environment

pytestmark = pytest.mark.store
on_ceph = pytest.mark.parametrize("s3", ["ceph"], indirect=True)
WRONG = "wrong-secret-k3Xs81"
REFUSED = r"access denied by the object store at http://127\.0\.0\.1:\d+; the credentials are wrong"


def pyarrow_read(url: str) -> bytes:
    """Read a file through pyarrow, as the feed reads shards."""
    fs, path = storage.pyarrow_filesystem(url)
    with storage.explained(url):
        return fs.open_input_file(path).read()


@on_ceph
@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_a_wrong_key_is_refused_in_a_sentence_that_does_not_repeat_it(
    s3: str, npz: str, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pack(npz, f"{s3}/d", **SMALL)
    split = Dataset.open(f"{s3}/d").split("train")
    experiment = override(presets.load("debug_mnist32_alae"), [f"data.path={s3}/d", f"training.storage={s3}/runs"])
    monkeypatch.setenv(variable, WRONG)
    storage.open_filesystem(s3)[0].clear_instance_cache()
    asked = [
        lambda: preflight.check(experiment),
        lambda: storage.check_writable(s3),
        lambda: storage.read_bytes(f"{s3}/d/manifest.json"),
        lambda: storage.write_bytes_verified(f"{s3}/x", b"1"),
        lambda: storage.list_files(s3),
        lambda: split.read(8, np.arange(3)),
        lambda: pack(npz, f"{s3}/e", **SMALL),
    ]
    for ask in asked:
        with pytest.raises(storage.StorageDeniedError, match=REFUSED) as caught:
            ask()
        assert not any(word in str(caught.value) for word in (WRONG, SECRET, KEY))


class _Stub(http.server.BaseHTTPRequestHandler):
    """A store with one object of four bytes that answers the first requests with errors."""

    heads: list[int] = []  # noqa: RUF012  status codes of the next answers
    gets: list[int] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self._answer(self.heads.pop(0) if self.heads else 200, b"")

    def do_GET(self) -> None:
        self._answer(self.gets.pop(0) if self.gets else 200, b"data")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "4" if status == 200 else "0")
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if status == 200:
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Stub]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        set_s3_environment(monkeypatch, f"http://127.0.0.1:{server.server_port}")
        try:
            yield _Stub
        finally:
            server.shutdown()
            thread.join()
            _Stub.heads, _Stub.gets = [], []


def test_a_store_that_answers_that_it_is_busy_is_asked_again(stub: type[_Stub]) -> None:
    stub.heads = [503] * 3
    with storage.patience(0), pytest.raises(storage.StorageUnreachableError, match=r"is unavailable \(503\)"):
        storage.size("s3://bucket/x")
    stub.heads = [503] * 4
    assert storage.size("s3://bucket/x") == 4
    stub.gets = [503] * 7
    assert pyarrow_read("s3://bucket/x") == b"data"


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (403, storage.StorageDeniedError, "access denied"),
        (404, storage.StorageNotFoundError, "does not exist"),
        (429, storage.StorageUnreachableError, r"is unavailable \(429\)"),
        (500, storage.StorageUnreachableError, r"is unavailable \(500\)"),
        (400, storage.StorageError, "answered UNKNOWN .HTTP status 400"),
    ],
)
def test_no_answer_of_a_store_to_a_reader_of_shards_is_taken_for_damage(
    stub: type[_Stub], status: int, kind: type[Exception], sentence: str
) -> None:
    stub.gets = [status] * 20
    with storage.patience(0), pytest.raises(kind, match=sentence):
        pyarrow_read("s3://bucket/x")


def test_submitting_is_refused_for_a_dataset_or_bucket_that_the_store_says_is_not_there(
    s3: str, npz: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--several", "debug_mnist32_alae", "algorithm.channels=3"]
    runs = f"training.storage={s3}/runs"
    assert check.main([*given, runs, f"data.path={s3}/faces"]) == 2
    assert f"{s3}/faces is not a packed dataset" in capsys.readouterr().err
    pack(npz, f"{s3}/d", **SMALL)
    assert check.main([*given, "training.storage=s3://no-such-bucket/r", f"data.path={s3}/d"]) == 2
    assert "bucket 'no-such-bucket' does not exist" in capsys.readouterr().err
    assert check.main([*given, runs, f"data.path={s3}/d"]) == 0
