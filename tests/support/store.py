"""Pytest plugin: S3 stores for the session, and a new bucket for each test that uses the fixture `s3`.

By default `s3` is a bucket of moto, a mock that starts in a second. `@both_stores` on a test, or
`pytest_generate_tests = on_both_stores` in a module, also runs on Ceph, a real store that checks signatures.
"""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import boto3
import pytest
import s3fs

from tests.support.ceph import Ceph

START_LIMIT_S = 30.0
KEY, SECRET = "test-key", "test-secret-a6Vq0pLw9"
"""The credentials of every store here; the secret is a word that occurs nowhere else."""
STORES = ("moto", "ceph")

both_stores = pytest.mark.parametrize("s3", STORES, indirect=True)


def on_both_stores(metafunc: pytest.Metafunc) -> None:
    """Run a module's tests that use `s3` on both stores; assign to the module's `pytest_generate_tests`."""
    if "s3" in metafunc.fixturenames:
        metafunc.parametrize("s3", STORES, indirect=True)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The address of a moto server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_open(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture(scope="session")
def ceph_endpoint() -> Iterator[str]:
    """The address of a Ceph store in memory."""
    yield from (ceph.endpoint for ceph in _ceph(durable=False))


@pytest.fixture(scope="session")
def durable_ceph() -> Iterator[Ceph]:
    """A Ceph store on disk that tests may kill and start again."""
    yield from _ceph(durable=True)


def _ceph(durable: bool) -> Iterator[Ceph]:
    ceph = Ceph((free_port(), free_port()), KEY, SECRET, durable=durable)
    try:
        yield ceph
    finally:
        ceph.close()


@pytest.fixture
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address `s3://bucket` of a new bucket; the environment is set to reach it."""
    set_s3_environment(monkeypatch, request.getfixturevalue(f"{getattr(request, 'param', 'moto')}_endpoint"))
    return new_bucket()


def new_bucket() -> str:
    """Create a bucket at the endpoint of the environment and return its address `s3://bucket`."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


def set_s3_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Set the environment so that every S3 client of this process and its children uses `endpoint`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()  # cached instances keep their first credentials


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the S3 test server did not open port {port} within {START_LIMIT_S:.0f} s")
