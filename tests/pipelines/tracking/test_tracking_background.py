"""MLflow in the background: dead, slow or back again; and addresses without secrets."""

import json
import logging
import threading
import time

import pytest
from mlflow import MlflowClient

from pipelines.storage.address import absolute_uri, redact
from pipelines.tracking.background import BackgroundSync
from pipelines.tracking.replica import SyncResult
from tests.support.toy_run import NO_WAIT, Toy, steps, until

pytestmark = pytest.mark.slow

# --- in the background --------------------------------------------------------------------------------


def test_the_background_thread_pushes_what_was_poked_and_ends_the_run(toy: Toy, client: MlflowClient) -> None:
    replica = toy.replica()
    background = BackgroundSync(replica, interval_s=NO_WAIT)
    toy.tick(1000)
    background.poke()
    until(lambda: (toy.spool / "tracking.json").exists())
    toy.tick(2000)
    assert background.close(timeout_s=20, status="FINISHED")
    run_id = json.loads((toy.spool / "tracking.json").read_text())["run_id"]
    assert steps(client, run_id, "loss") == [1000, 2000]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_server_that_is_dead_for_a_whole_run_costs_nothing_and_is_replayed_later(
    toy: Toy, client: MlflowClient, dead_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    replica = toy.replica(uri=dead_uri)
    background = BackgroundSync(replica, interval_s=NO_WAIT)
    started = time.monotonic()
    for nimg in range(1000, 6000, 1000):
        toy.tick(nimg)
        background.poke()
    assert time.monotonic() - started < 1.0
    until(lambda: background._failures >= 3)
    toy.evaluate(5000)
    assert not background.close(timeout_s=20, status="FINISHED")
    assert caplog.text.count("training goes on") == 1
    assert "hunter2" not in caplog.text and "hunter2" not in repr(replica)
    result = toy.replica().sync(final=True)
    assert (result.ticks, result.evaluations, result.figures) == (5, 1, 1)
    assert steps(client, result.run_id, "loss") == [1000, 2000, 3000, 4000, 5000]


def test_a_server_that_comes_back_is_caught_up_without_another_poke(
    toy: Toy, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    replica, sync = toy.replica(), toy.replica().sync
    answers = iter([False, False])

    def flaky(final: bool = False, status: str | None = None) -> SyncResult:
        if next(answers, True):
            return sync(final=final, status=status)
        raise ConnectionError("no answer from http://user:hunter2@host:5000")

    replica.sync = flaky  # type: ignore[method-assign]
    toy.tick(1000)
    background = BackgroundSync(replica, interval_s=NO_WAIT)
    background.poke()
    until(lambda: "caught up after 2 failed attempts" in caplog.text)
    run_id = json.loads((toy.spool / "tracking.json").read_text())["run_id"]
    assert steps(client, run_id, "loss") == [1000]
    assert background.close(timeout_s=20)
    assert "hunter2" not in caplog.text and "http://***@host:5000" in caplog.text


def test_a_server_that_hangs_neither_blocks_pokes_nor_outlasts_the_closing_limit(toy: Toy) -> None:
    replica, release = toy.replica(), threading.Event()
    replica.sync = lambda **_: release.wait(60)  # type: ignore[method-assign, assignment]
    background = BackgroundSync(replica, interval_s=NO_WAIT)
    started = time.monotonic()
    for _ in range(1000):
        background.poke()
    assert not background.close(timeout_s=0.2)
    assert time.monotonic() - started < 5
    release.set()
    assert background.close(timeout_s=20)


def test_waits_grow_while_the_server_is_away_and_stay_bounded(toy: Toy) -> None:
    background = BackgroundSync(toy.replica(), interval_s=5.0)
    waits = []
    for background._failures in (0, 1, 2, 3, 4, 1000):
        waits.append(background._wait_s())
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://user:hunter2@host:5000/a@b", "http://***@host:5000/a@b"),
        ("to https://token@host failed, see http://host/x", "to https://***@host failed, see http://host/x"),
        ("postgresql://u:p@ss@db/mlflow?password=hunter2&x=1", "postgresql://***@db/mlflow?password=***&x=1"),
        ("s3://bucket/run?aws_secret_key=hunter2", "s3://bucket/run?aws_secret_key=***"),
        ("sqlite:////work/mlflow.db", "sqlite:////work/mlflow.db"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_credentials_are_redacted_and_the_rest_is_kept(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_credentials_reach_neither_mlflow_nor_the_spool(toy: Toy, client: MlflowClient) -> None:
    run = client.get_run(toy.replica().sync().run_id)
    assert run.data.params["data.url"] == "s3://***@host/x"
    mlflow_run_id, written = run.info.run_id, (toy.spool / "tracking.json").read_text()
    assert mlflow_run_id in written and "secret" not in written


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("sqlite:///../db/mlflow.db?timeout=30", "sqlite:////home/db/mlflow.db?timeout=30"),
        ("sqlite+pysqlite:///mlflow.db", "sqlite+pysqlite:////home/me/mlflow.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("mlruns", "/home/me/mlruns"),
        ("/srv/mlruns", "/srv/mlruns"),
        ("http://host:5000", "http://host:5000"),
        ("databricks", "databricks"),
    ],
)
def test_a_relative_store_is_resolved_against_the_drivers_folder(uri: str, absolute: str) -> None:
    assert absolute_uri(uri, "/home/me") == absolute
