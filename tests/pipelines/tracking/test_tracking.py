"""MLflow ends up with exactly what the run's files hold, whatever happened on the way."""

import base64
import json
import logging
import pickle
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow import MlflowClient

from pipelines.runs.history import History
from pipelines.tracking import mlflow_run
from pipelines.tracking.replica import SyncResult
from tests.support.toy_run import Toy, figures, steps

pytestmark = pytest.mark.slow

# --- what arrives -------------------------------------------------------------------------------------


def test_ticks_arrive_once_at_their_image_count_and_time(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000, 2000)
    replica = toy.replica()
    first = replica.sync()
    toy.tick(3000)
    assert (first.ticks, replica.sync().ticks, replica.sync().ticks) == (2, 1, 0)
    points = client.get_metric_history(first.run_id, "loss")
    assert [(p.step, p.value, p.timestamp) for p in points] == [
        (nimg, 1.0 / nimg, (1_700_000_000 + nimg) * 1000) for nimg in (1000, 2000, 3000)
    ]
    assert client.get_metric_history(first.run_id, "odd") == []


def test_a_long_backlog_is_sent_in_batches_mlflow_accepts(
    toy: Toy, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_run, "METRICS_PER_BATCH", 7)
    sizes: list[int] = []
    log_batch = MlflowClient.log_batch

    def counted(self: MlflowClient, run_id: str, metrics: Any = (), **rest: Any) -> None:
        sizes.append(len(metrics))
        log_batch(self, run_id, metrics=metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    toy.tick(*range(1000, 9000, 1000))
    toy.history.append(9000, {f"term_{index}": 1.0 for index in range(20)})
    run_id = toy.replica().sync().run_id
    assert max(sizes) <= 7
    assert steps(client, run_id, "loss") == list(range(1000, 9000, 1000))
    assert steps(client, run_id, "tracking/nimg") == list(range(1000, 10000, 1000))
    assert steps(client, run_id, "term_19") == [9000]


def test_a_name_that_mlflow_refuses_does_not_keep_its_tick_out(toy: Toy, client: MlflowClient) -> None:
    toy.history.append(1000, {"loss[é]": 0.5, "loss": 0.25})
    run = client.get_run(toy.replica(params={"lr[0]": 0.1}).sync().run_id)
    assert run.data.metrics["loss___"] == 0.5 and run.data.metrics["loss"] == 0.25
    assert run.data.params == {"lr_0_": "0.1"}


def test_figures_appear_once_with_their_step(toy: Toy, client: MlflowClient) -> None:
    toy.evaluate(1000)
    toy.evaluate(2000)
    replica = toy.replica()
    result = replica.sync()
    assert (result.evaluations, result.figures) == (2, 2)
    assert replica.sync().figures == toy.replica().sync().figures == 0
    assert figures(client, result.run_id) == [
        "images/figures~reconstructions+step+1000",
        "images/figures~reconstructions+step+2000",
    ]
    assert steps(client, result.run_id, "eval/fid") == [1000, 2000]


def test_an_evaluated_checkpoint_is_a_logged_model_that_sorts_by_its_metrics(toy: Toy, client: MlflowClient) -> None:
    toy.evaluate(1000, fid=20.0)
    toy.evaluate(2000, fid=30.0)
    run_id = toy.replica().sync().run_id
    toy.replica().sync()
    models = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id],
        f"source_run_id = '{run_id}'",
        order_by=[{"field_name": "metrics.eval/fid", "ascending": True}],
    )
    assert [model.name for model in models] == ["at_1_kimg", "at_2_kimg"]
    assert {str(model.status) for model in models} == {"READY"}
    assert not any("alae.checkpoint" in model.tags for model in models)


def test_an_unfinished_evaluation_waits_and_a_lost_figure_holds_nothing_up(
    toy: Toy, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    for nimg in (1000, 2000, 3000, 4000):
        toy.evaluate(nimg)
    unfinished = toy.run / "evaluations/000000001000.json"
    whole = unfinished.read_bytes()
    unfinished.write_bytes(whole[:20])
    lost = toy.run / "figures/reconstructions_000000002000.png"
    image = lost.read_bytes()
    lost.unlink()
    (toy.run / "figures/reconstructions_000000003000.png").write_bytes(b"not an image")
    replica = toy.replica()
    first, again = replica.sync(), replica.sync()
    assert (first.evaluations, first.figures, again.evaluations, again.figures) == (3, 1, 0, 0)
    assert len([r for r in caplog.records if "MLflow goes without it" in r.message]) == 3
    unfinished.write_bytes(whole)
    lost.write_bytes(image)
    assert replica.sync() == SyncResult(first.run_id, evaluations=1, figures=2)


def test_artifacts_of_a_sqlite_store_lie_next_to_it_and_not_in_the_working_folder(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    toy.evaluate(1000)
    run_id = toy.replica().sync().run_id
    store = Path(toy.uri.removeprefix("sqlite:///")).parent
    assert list((store / "mlartifacts" / run_id / "artifacts" / "images").glob("figures~reconstructions*.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spool", "storage"]


# --- crashes and restarts -----------------------------------------------------------------------------


def test_a_crash_between_push_and_remember_leaves_no_gap_and_no_duplicate(
    toy: Toy, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.tick(1000, 2000)
    toy.evaluate(2000)
    run_id = toy.replica().sync().run_id
    toy.tick(3000, 4000)
    toy.evaluate(4000)

    def dies_after(name: str) -> None:
        original = getattr(MlflowClient, name)

        def call(self: MlflowClient, *args: Any, **keywords: Any) -> None:
            original(self, *args, **keywords)
            if keywords.get("metrics") or name != "log_batch":
                raise ConnectionError("killed")

        with monkeypatch.context() as patch, pytest.raises(ConnectionError):
            patch.setattr(MlflowClient, name, call)
            survivor.sync()

    survivor = toy.replica()
    for name in ("log_batch", "log_batch", "log_image"):
        dies_after(name)
    result = survivor.sync()
    assert (result.run_id, result.ticks, result.evaluations, result.figures) == (run_id, 0, 0, 0)
    for name in ("loss", "tracking/nimg"):
        assert steps(client, run_id, name) == [1000, 2000, 3000, 4000]
    assert steps(client, run_id, "eval/fid") == steps(client, run_id, "tracking/evaluation_nimg") == [2000, 4000]
    assert len(figures(client, run_id)) == 2


def test_a_killed_model_registration_is_completed_and_not_repeated(
    toy: Toy, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise ConnectionError("killed")

    toy.evaluate(1000)
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(MlflowClient, "finalize_logged_model", dies)
        toy.replica().sync()
    run = client.get_run(toy.replica().sync().run_id)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert [str(model.status) for model in models] == ["READY"]


def test_replicas_that_take_turns_on_one_spool_write_one_run_without_duplicates(toy: Toy, client: MlflowClient) -> None:
    controller, driver = toy.replica(), toy.replica()
    run_ids = set()
    for turn in range(1, 4):
        toy.tick(turn * 1000)
        toy.evaluate(turn * 1000)
        run_ids |= {controller.sync().run_id, driver.sync().run_id}
        toy.tick(turn * 1000 + 500)
        run_ids |= {driver.sync().run_id, controller.sync().run_id}
    (run_id,) = run_ids
    assert steps(client, run_id, "loss") == [1000, 1500, 2000, 2500, 3000, 3500]
    assert len(figures(client, run_id)) == 3


def test_a_lost_spool_finds_its_run_by_the_tag(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000)
    run_id = toy.replica().sync().run_id
    (toy.spool / "tracking.json").unlink()
    (toy.spool / "history.jsonl").unlink()
    toy.history = History(toy.spool / "history.jsonl")
    toy.tick(1000, 2000)
    assert toy.replica().sync() == SyncResult(run_id, ticks=1)
    assert json.loads((toy.spool / "tracking.json").read_text())["run_id"] == run_id
    assert client.get_run(run_id).data.tags["alae.run"] == str(toy.run)


def test_runs_in_different_folders_are_different_runs(toy: Toy, tmp_path: Path) -> None:
    other = Toy(tmp_path / "it's another", toy.uri)
    run_ids = [run.replica().sync().run_id for run in (toy, other)]
    (other.spool / "tracking.json").unlink()
    assert other.replica().sync().run_id == run_ids[1] != run_ids[0]


def test_a_run_deleted_in_mlflow_is_written_anew(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000)
    deleted = toy.replica().sync().run_id
    client.delete_run(deleted)
    result = toy.replica().sync()
    assert result.run_id != deleted and result.ticks == 1


# --- identity and end ---------------------------------------------------------------------------------


def test_params_are_logged_once_and_a_changed_one_is_only_warned_about(
    toy: Toy, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = toy.replica(params={"seed": 0, "note": "x" * 7000, "none": None}).sync().run_id
    toy.replica(params={"seed": 0, "note": "x" * 7000, "none": None}).sync()
    assert "params" not in caplog.text
    toy.replica(params={"seed": 1, "note": "x" * 7000, "workers": 4}).sync()
    assert "params that have changed: seed" in caplog.text
    params = client.get_run(run_id).data.params
    assert (params["seed"], params["workers"], params["none"]) == ("0", "4", "None")


def test_tags_follow_the_run_and_a_nested_run_names_its_parent(toy: Toy, client: MlflowClient) -> None:
    run_id = toy.replica(parent_run_id="a" * 32).sync().run_id
    assert toy.replica(parent_run_id="a" * 32, tags={"preset": "other"}).sync().run_id == run_id
    tags = client.get_run(run_id).data.tags
    assert tags["mlflow.parentRunId"] == "a" * 32
    assert (tags["preset"], tags["mlflow.runName"]) == ("other", "toy")


def test_the_final_status_is_kept_until_the_run_goes_on(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000, 2000)
    replica = toy.replica()
    run_id = replica.sync().run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    replica.sync(final=True, status="FAILED")
    replica.sync()
    info = client.get_run(run_id).info
    assert (info.status, info.start_time, info.end_time) == ("FAILED", 1_700_001_000_000, 1_700_002_000_000)
    resumed = toy.replica()
    resumed.sync()
    assert client.get_run(run_id).info.status == "RUNNING"
    resumed.sync(final=True)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_writer_that_comes_late_adds_what_is_missing_and_does_not_reopen_the_run(
    toy: Toy, client: MlflowClient
) -> None:
    toy.tick(1000)
    controller, driver = toy.replica(), toy.replica()
    controller.sync()
    run_id = driver.sync(final=True).run_id
    toy.tick(2000)
    assert controller.sync().ticks == 1
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_without_mlflow_is_replayed_after_its_end(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000, 2000)
    toy.evaluate(2000)
    result = toy.replica().sync(final=True)
    assert (result.ticks, result.evaluations, result.figures) == (2, 1, 1)
    assert toy.replica().sync(final=True) == SyncResult(result.run_id)
    assert client.get_run(result.run_id).info.status == "FINISHED"


def test_a_replica_travels_to_another_process_as_a_writer_of_its_own(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000)
    replica = toy.replica()
    run_id = replica.sync().run_id
    travelled = pickle.loads(pickle.dumps(replica))
    toy.tick(2000)
    assert travelled.sync() == SyncResult(run_id, ticks=1)
    assert replica.sync() == SyncResult(run_id)


@pytest.mark.parametrize("deed", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_run_has_a_run_of_its_own_in_mlflow_and_leaves_the_other_alone(
    toy: Toy, tmp_path: Path, client: MlflowClient, deed: Callable[[Path, Path], Any]
) -> None:
    toy.tick(1000)
    toy.evaluate(1000)
    first = toy.replica().sync(final=True).run_id
    for folder in (toy.spool, toy.run):
        deed(folder, tmp_path / "other" / folder.name)
    other = Toy(tmp_path / "other", toy.uri)
    other.run = tmp_path / "other" / toy.run.name
    other.tick(2000)
    second = other.replica().sync()
    assert second.run_id != first and (second.ticks, second.evaluations, second.figures) == (2, 1, 1)
    assert other.replica().sync().run_id == second.run_id
    assert steps(client, first, "loss") == [1000] and client.get_run(first).info.status == "FINISHED"


class Server(BaseHTTPRequestHandler):
    """The least of an MLflow server that one sync needs."""

    authorizations: ClassVar[list[str]] = []
    run: ClassVar[dict[str, Any]] = {"info": {"run_id": "b" * 32, "experiment_id": "1", "lifecycle_stage": "active"}}
    answers: ClassVar[dict[str, Any]] = {
        "experiments/get-by-name": {"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}},
        "runs/create": {"run": run},
        "runs/get": {"run": run},
        "runs/update": {"run_info": run["info"]},
    }

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.authorizations.append(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        answer: Any = next((value for end, value in self.answers.items() if path.endswith(end)), {})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


def test_a_password_reaches_the_server_and_nothing_that_is_printed_or_logged(
    toy: Toy, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    toy.tick(1000)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            replica = toy.replica(uri=f"http://user:hunter2@127.0.0.1:{server.server_port}")
            assert replica.sync(final=True).run_id == "b" * 32
        finally:
            server.shutdown()
    assert base64.b64decode(Server.authorizations[-1].removeprefix("Basic ")) == b"user:hunter2"
    printed = capfd.readouterr()
    assert "hunter2" not in printed.out + printed.err + caplog.text
