"""Jobs sent with `alae submit` to a real one-node cluster with token authentication."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
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


PLANTED = "hunter2XqPlanted"
"""A secret that must not be readable on the cluster."""


# ---------------------------------------------------------------- a cluster


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PLANTED)  # where the machines run `ray start`: jobs inherit it
        with running_head(tmp_path_factory.mktemp("token"), cpus=3) as cluster:
            yield cluster


@pytest.fixture
def cluster(head: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token_file))
    return head


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A working directory whose `pipelines.cli` reports what reached the job."""
    cli = tmp_path / "code" / "pipelines" / "cli"
    cli.mkdir(parents=True)
    (cli.parent / "__init__.py").touch()
    (cli / "__init__.py").touch()
    (cli / "check.py").write_text("import sys\nprint('checked', sys.argv[1:], file=sys.stderr)\n")
    (cli / "__main__.py").write_text(
        "import os, pathlib, sys\n"
        "print('arguments', sys.argv[1:])\n"
        "print('files', sorted(str(p) for p in pathlib.Path('.').rglob('*') if p.suffix not in ('.py', '.pyc')))\n"
        "print('variable', os.environ.get('ALAE_TEST_VALUE'))\n"
        "sys.exit(int(os.environ.get('ALAE_TEST_EXIT', '0')))\n"
    )
    return tmp_path / "code"


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
    monkeypatch.setenv("ALAE_TEST_VALUE", "a private value")
    overrides = ["data.path=s3://a b", "name=it's", "training.x=$HOME;#"]
    where = ["--address", cluster.address, "--working-dir", str(code), "--env", "ALAE_TEST_VALUE"]
    status = _alae("submit_test", *overrides, *where)
    out, err = capfd.readouterr()
    assert status == 0
    assert f"arguments {['train', 'submit_test', *overrides]}" in out
    assert "files ['.rayignore', 'notes.txt', 'pipelines', 'pipelines/cli']" in out.replace('"', "'")
    assert "variable a private value" in out
    assert "private" not in err and "SUCCEEDED" in err
    assert f"checked {['submit_test', *overrides]}" in err  # without --several: the cluster is this machine
    assert "INFO" not in err and "WARNING" not in err


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


# ---------------------------------------------------------------- a run, as a user submits it


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_is_submitted_from_an_empty_folder_and_its_log_is_ours(
    cluster: Cluster, tiny_dataset: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    where = ["--address", cluster.address, "--working-dir", str(tmp_path)]
    run = ["debug_mnist32_style_alae", f"data.path={tiny_dataset}"]
    assert _alae(*run, *where) == 2
    err = capfd.readouterr().err
    assert "training.storage=runs is relative, and a job runs in a temporary copy" in err and "submitted to" not in err
    run.append(f"training.storage={tmp_path}/runs")
    for secret in (["--env", f"AWS_SECRET_ACCESS_KEY={PLANTED}"], ["--env", f"URI=http://me:{PLANTED}@mlflow"]):
        assert _alae(*run, *where, *secret) == 2
    assert _alae(*run, f"tracking.uri=http://me:{PLANTED}@mlflow", *where) == 2
    assert PLANTED not in capfd.readouterr().err

    assert _alae(*run, *where, "--submission-id", "whole") == 0
    out, err = capfd.readouterr()
    ticks = re.findall(r"\d/0\.480? ", out)  # each row has the images so far of all
    assert len(ticks) == 15 and len(out) < 6_000
    for foreign in ("TrainingReport", "RayTrainWorker", "TrainController", "SplitCoordinator", "ReadSlabs", "it/s]"):
        assert foreign not in out
    assert "evaluation.samples=32 is below the 64 features" in out  # a message of ours, from a worker
    named = Path(re.findall(r"messages of Ray and its workers: (\S+) on ", out)[0])
    assert "TrainingReport" in named.read_text()
    assert (tmp_path / "runs" / "debug_mnist32_style_alae" / "history.jsonl").is_file()

    client = connect(cluster.address)
    assert PLANTED not in out + err + repr([vars(job) for job in client.list_jobs()])
    session = named.parents[1]
    held = [path for path in session.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert held == []


@pytest.mark.ray
def test_a_job_that_was_submitted_by_ray_alone_refuses_its_temporary_folder(
    cluster: Cluster, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said: list[str] = []
    train = ["python", "-m", "pipelines.cli", "train", "debug_mnist32_style_alae"]
    result = submit(train, address=cluster.address, working_dir=str(tmp_path), follow=said.append)
    assert result.exit_status == 2
    assert "training.storage=runs is relative, and a job runs in a temporary copy of its working dir" in "".join(said)
