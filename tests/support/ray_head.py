"""A Ray head with dashboard, job server and token authentication, for tests of `alae submit`."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Cluster:
    """A running head: the address of its dashboard, and the file with its token."""

    address: str
    token_file: Path


def free_ports(count: int) -> list[int]:
    """Return unused ports of 127.0.0.1."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _start_head(home: Path, token_file: Path, cpus: int) -> tuple[subprocess.Popen[bytes], str]:
    gcs, dashboard, client, agent, agent_grpc, metrics, env_agent = free_ports(7)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    environment["PATH"] = os.pathsep.join(
        [str(RAY.parent), environment["PATH"]]
    )  # a job's `python` has the dependencies
    command = [
        *(str(RAY), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--temp-dir={home}"),
        *(
            f"--port={gcs}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
        ),
        *(f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--dashboard-agent-grpc-port={agent_grpc}", f"--metrics-export-port={metrics}"),
        # 0: any free port. The default is a fixed range, which other clusters on this host use as well.
        *(f"--runtime-env-agent-port={env_agent}", "--min-worker-port=0", "--max-worker-port=0"),
        *(f"--num-cpus={cpus}", "--object-store-memory=100000000", "--disable-usage-stats"),
    ]
    with (home / "start.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    return process, f"http://127.0.0.1:{dashboard}"


def _wait_until_it_answers(process: subprocess.Popen[bytes], cluster: Cluster, log: Path) -> None:
    request = urllib.request.Request(f"{cluster.address}/api/jobs/")
    request.add_header("Authorization", f"Bearer {cluster.token_file.read_text()}")
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the head did not start:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes], home: Path) -> None:
    """End only the processes of this fixture; `ray stop` would end every cluster of the host."""
    family = []
    if process.poll() is None:
        started = psutil.Process(process.pid)
        family = [started, *started.children(recursive=True)]
        process.terminate()
    psutil.wait_procs(family, timeout=8)
    # Processes that Ray re-parented have the session folder of this fixture in their command line.
    left = [each for each in family if each.is_running()]
    left += [each for each in psutil.process_iter() if str(home) in _command_line(each) and each not in left]
    for each in left:
        each.kill()
    process.wait(10)
    _, alive = psutil.wait_procs(left, timeout=8)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def running_head(token_folder: Path, cpus: int) -> Iterator[Cluster]:
    """Start a head with this many logical CPUs, and end all its processes afterwards."""
    token_file = token_folder / "auth_token"
    token_file.write_text(secrets.token_hex(32))
    home = Path(tempfile.mkdtemp(prefix="alae", dir="/tmp"))  # Ray's sockets lie here: paths must be short
    process, address = _start_head(home, token_file, cpus)
    cluster = Cluster(address, token_file)
    try:
        _wait_until_it_answers(process, cluster, home / "start.log")
        yield cluster
    finally:
        _stop(process, home)
        shutil.rmtree(home, ignore_errors=True)
