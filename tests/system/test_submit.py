"""Jobs sent with `alae submit` to a real one-node cluster with token authentication."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cluster import submit as submitting
from cluster.client import connect
from cluster.submit import follow_job, submit

RAY = Path(sys.executable).with_name("ray")


@pytest.fixture(autouse=True)
def _no_cluster_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RAY_ADDRESS",
        "RAY_API_SERVER_ADDRESS",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
    ):
        monkeypatch.delenv(name, raising=False)


# ---------------------------------------------------------------- a cluster


@dataclass(frozen=True)
class Cluster:
    address: str
    token_file: Path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _start_head(home: Path, token_file: Path) -> tuple[subprocess.Popen[bytes], str]:
    gcs, dashboard, client, agent, agent_grpc, metrics, env_agent = _free_ports(7)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
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
        *("--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"),
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
    """End what this fixture started, and nothing else: never `ray stop`, which ends every cluster of the host."""
    family = []
    if process.poll() is None:
        started = psutil.Process(process.pid)
        family = [started, *started.children(recursive=True)]
        process.terminate()
    psutil.wait_procs(family, timeout=8)
    # Processes that Ray re-parented are known by the session folder in their command line, which is ours alone.
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


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    token_file = tmp_path_factory.mktemp("token") / "auth_token"
    token_file.write_text(secrets.token_hex(32))
    home = Path(tempfile.mkdtemp(prefix="alae", dir="/tmp"))  # Ray's sockets lie here: paths must be short
    process, address = _start_head(home, token_file)
    cluster = Cluster(address, token_file)
    try:
        _wait_until_it_answers(process, cluster, home / "start.log")
        yield cluster
    finally:
        _stop(process, home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def cluster(head: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token_file))
    return head


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A working directory whose `pipelines.cli` reports what reached the job."""
    root = tmp_path / "code"
    (root / "pipelines").mkdir(parents=True)
    (root / "pipelines" / "__init__.py").touch()
    (root / "pipelines" / "cli.py").write_text(
        "import os, pathlib, sys\n"
        "print('arguments', sys.argv[1:])\n"
        "print('files', sorted(str(p) for p in pathlib.Path('.').rglob('*') if p.suffix not in ('.py', '.pyc')))\n"
        "print('variable', os.environ.get('ALAE_TEST_SECRET'))\n"
        "sys.exit(int(os.environ.get('ALAE_TEST_EXIT', '0')))\n"
    )
    return root


def _alae(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    submitting.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["submit", *arguments])
    return int(parsed.func(parsed))


# ---------------------------------------------------------------- on the cluster


@pytest.mark.ray
def test_a_preset_with_overrides_arrives_as_typed_and_its_log_is_followed(
    cluster: Cluster, code: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (code / "data").mkdir()
    (code / "data" / "images.bin").write_bytes(bytes(1000))
    (code / "notes.txt").write_text("travels")
    (code / "ignored.txt").write_text("stays")
    (code / ".rayignore").write_text("ignored.txt\n")
    (code / "shard.parquet").write_bytes(bytes(1000))
    monkeypatch.setenv("ALAE_TEST_SECRET", "s3cret value")
    overrides = ["data.path=s3://a b", "name=it's", "training.x=$HOME;#"]
    where = ["--address", cluster.address, "--working-dir", str(code), "--env", "ALAE_TEST_SECRET"]
    status = _alae("submit_test", *overrides, *where)
    out, err = capfd.readouterr()
    assert status == 0
    assert f"arguments {['train', 'submit_test', *overrides]}" in out
    assert "files ['.rayignore', 'notes.txt', 'pipelines']" in out.replace('"', "'")
    assert "variable s3cret value" in out
    assert "s3cret" not in err and "SUCCEEDED" in err


@pytest.mark.ray
def test_a_failing_run_gives_its_own_exit_code(cluster: Cluster, code: Path) -> None:
    where = ["--address", cluster.address, "--working-dir", str(code)]
    assert _alae("submit_test", *where, "--env", "ALAE_TEST_EXIT=7") == 7


@pytest.mark.ray
def test_without_following_the_id_comes_back_at_once_and_cannot_be_used_twice(
    cluster: Cluster, code: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = [
        "--address",
        cluster.address,
        "--working-dir",
        str(code),
        "--no-wait",
        "--submission-id",
        "twice",
    ]
    assert _alae("submit_test", *where) == 0
    assert capfd.readouterr().out.strip() == "twice"
    assert _alae("submit_test", *where) == 2
    assert "--submission-id=twice was already used" in capfd.readouterr().err


@pytest.mark.ray
def test_interrupting_the_log_leaves_the_job_running_and_says_how_to_return(
    cluster: Cluster, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    client, release = connect(cluster.address), tmp_path / "release"
    script = (
        "import pathlib, time\nprint('begun', flush=True)\n"
        f"while not pathlib.Path({str(release)!r}).exists(): time.sleep(0.1)"
    )
    job = submitting.start(client, [sys.executable, "-c", script], working_dir=None)
    with contextlib.redirect_stdout(_InterruptsWhenWrittenTo()):
        status = submitting._follow_from_terminal(client, job, cluster.address)
    err = capfd.readouterr().err
    assert status == 130
    assert f"ray job logs --follow --address {cluster.address} {job}" in err
    assert f"ray job stop --address {cluster.address} {job}" in err
    assert client.get_job_status(job).value == "RUNNING"
    release.touch()
    assert follow_job(client, job, lambda text: None).status == "SUCCEEDED"


class _InterruptsWhenWrittenTo(io.StringIO):
    """Ctrl-C at the first write, also where the tests run in the background and SIGINT is ignored."""

    def write(self, text: str) -> int:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)
        return len(text)


@pytest.mark.ray
def test_a_wrong_or_missing_token_is_one_sentence_that_does_not_show_it(
    head: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("f00d" * 16)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(wrong))
    with pytest.raises(PermissionError, match=f"refused the token from {wrong}") as refused:
        submit(["true"], address=head.address, working_dir=None)
    assert "f00d" not in str(refused.value)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(PermissionError, match="asks for a token and none was found"):
        submit(["true"], address=head.address, working_dir=None)


@pytest.mark.ray
def test_an_explicit_address_wins_over_the_environment(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    assert connect(cluster.address).get_address() == cluster.address
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:1"


def test_an_address_where_nothing_listens_is_one_sentence(code: Path, capfd: pytest.CaptureFixture[str]) -> None:
    [port] = _free_ports(1)
    address = f"http://127.0.0.1:{port}"
    assert _alae("submit_test", "--address", address, "--working-dir", str(code)) == 1
    err = capfd.readouterr().err
    assert f"nothing answers at {address}" in err and "Traceback" not in err
