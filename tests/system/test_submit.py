"""Jobs sent with `alae submit` to a real one-node cluster with token authentication."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import submit as submitting
from cluster.client import connect
from cluster.submit import follow_job, submit
from tests.support.ray_head import Cluster, free_ports, running_head


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


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_head(tmp_path_factory.mktemp("token"), cpus=1) as cluster:
        yield cluster


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
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    assert _alae("submit_test", "--address", address, "--working-dir", str(code)) == 1
    err = capfd.readouterr().err
    assert f"nothing answers at {address}" in err and "Traceback" not in err
