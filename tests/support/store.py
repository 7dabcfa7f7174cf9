"""Pytest plugin: S3 stores of their own for the session, and a fresh bucket for each test that asks.

`s3` is a bucket of moto, a mock that starts in a second, unless a test or its module asks for more:
`@both_stores`, or `pytest_generate_tests = on_both_stores`, runs it on Ceph too, a real store that checks signatures.
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
"""Of every store here; the secret is a word that stands nowhere else."""
STORES = ("moto", "ceph")

both_stores = pytest.mark.parametrize("s3", STORES, indirect=True)


def on_both_stores(metafunc: pytest.Metafunc) -> None:
    """As a module's `pytest_generate_tests`: its tests with a bucket run on both stores."""
    if "s3" in metafunc.fixturenames:
        metafunc.parametrize("s3", STORES, indirect=True)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """Address of a moto server."""
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
    """Address of a Ceph store in memory."""
    yield from (ceph.endpoint for ceph in _ceph(durable=False))


@pytest.fixture(scope="session")
def durable_ceph() -> Iterator[Ceph]:
    """A Ceph store on disk, to be killed and started again."""
    yield from _ceph(durable=True)


def _ceph(durable: bool) -> Iterator[Ceph]:
    ceph = Ceph((free_port(), free_port()), KEY, SECRET, durable=durable)
    try:
        yield ceph
    finally:
        ceph.close()


@pytest.fixture
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://bucket` of a fresh bucket, with the environment set to reach it."""
    set_s3_environment(monkeypatch, request.getfixturevalue(f"{getattr(request, 'param', 'moto')}_endpoint"))
    return new_bucket()


def new_bucket() -> str:
    """`s3://bucket` of a fresh bucket at the endpoint of the environment."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}"


def set_s3_environment(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Points every S3 client of this process and its children to `endpoint`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()  # they keep the credentials that they began with


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listened on a moment ago."""
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
