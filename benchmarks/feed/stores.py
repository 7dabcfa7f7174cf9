"""Object stores on this machine, with their data, behind a proxy that adds latency and counts bytes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.support.ceph import Ceph
from tests.support.proxy import SlowStore
from tests.support.store import KEY, SECRET, free_port

LATENCY_S = 0.02
BUCKET = "images"
REGION = "us-east-1"
START_LIMIT_S = 30.0
UPLOADS = 8
LINK_S = 3600


@dataclass(frozen=True)
class Store:
    """Bucket with the data, accessed through the proxy."""

    name: str
    proxy: SlowStore

    @property
    def env(self) -> dict[str, str]:
        """Environment variables with which a process accesses the bucket."""
        return _environment(self.proxy.endpoint)

    @property
    def title(self) -> str:
        """Description for a table's heading."""
        return f"{self.name}, {1000 * self.proxy.latency_s:.0f} ms each way"

    def url(self, path: str) -> str:
        """The s3:// address of a file or folder."""
        return f"s3://{BUCKET}/{path}"

    def pipe(self, path: str) -> str:
        """Command in WebDataset's form that fetches a file by a signed link, so that only curl has to start."""
        parameters = {"Bucket": BUCKET, "Key": path}
        link = _client(self.proxy.endpoint).generate_presigned_url("get_object", Params=parameters, ExpiresIn=LINK_S)
        return f"pipe:curl -s -f '{link}'"


@contextmanager
def opened(kind: str, folder: Path, paths: Iterable[Path]) -> Iterator[Store]:
    """Context with a new store, "moto" or "ceph", and `paths` of `folder` in its bucket; it is deleted afterwards."""
    with {"moto": _moto, "ceph": _ceph}[kind]() as endpoint:
        _upload(endpoint, folder, paths)
        with SlowStore(endpoint, LATENCY_S) as proxy:
            yield Store({"moto": "moto", "ceph": "Ceph"}[kind], proxy)


@contextmanager
def _ceph() -> Iterator[str]:
    ceph = Ceph((free_port(), free_port()), KEY, SECRET)
    try:
        yield ceph.endpoint
    finally:
        ceph.close()


@contextmanager
def _moto() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait(endpoint)
        yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait(endpoint: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            _client(endpoint).list_buckets()
            return
        except Exception:  # whatever botocore makes of a server that is not there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _upload(endpoint: str, folder: Path, paths: Iterable[Path]) -> None:
    client = _client(endpoint)
    client.create_bucket(Bucket=BUCKET)

    def send(path: Path) -> None:
        client.put_object(Bucket=BUCKET, Key=str(path.relative_to(folder)), Body=path.read_bytes())

    with ThreadPoolExecutor(UPLOADS) as threads:
        for _ in threads.map(send, paths):
            pass


def _client(endpoint: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name=REGION
    )


def _environment(endpoint: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_ENDPOINT_URL": endpoint,
        "S3_ENDPOINT_URL": endpoint,  # MosaicML's name for it
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
