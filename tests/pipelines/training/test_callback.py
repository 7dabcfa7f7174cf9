"""The controller's record has one line per tick from all ranks, and no failure of it ends the training."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from pipelines import presets, storage
from pipelines.experiment.override import override
from pipelines.runs.history import History, read_history
from pipelines.runs.run import Run
from pipelines.tracking import track
from pipelines.training import phases
from pipelines.training.callback import Recorder
from pipelines.training.meter import STARTED, merged
from tests.support.measured import save


def tick(nimg: int, **more: float) -> dict[str, Any]:
    return {"progress/nimg": nimg, "progress/kimg": nimg / 1000, **more}


def test_the_ranks_become_one_record_as_means_worst_waits_and_the_slowest_rate() -> None:
    first = tick(32, **{"a/b": 1.0, "time/data_wait_frac": 0.1, "memory/peak_gib": 2.0, "time/images_per_s": 90.0})
    second = tick(32, **{"a/b": 2.0, "time/data_wait_frac": 0.4, "memory/peak_gib": 1.0, "time/images_per_s": 80.0})
    assert merged([first, second]) == tick(
        32, **{"a/b": 1.5, "time/data_wait_frac": 0.4, "memory/peak_gib": 2.0, "time/images_per_s": 80.0}
    )


def test_counters_stay_whole_numbers() -> None:
    assert type(merged([tick(3 * 10**9 + 1)] * 3)["progress/nimg"]) is int


def test_every_tick_is_one_line_of_the_history_with_the_machines_state(tmp_path: Path) -> None:
    record = Recorder(Run(str(tmp_path)), None)
    for nimg in (32, 64):
        record.after_report(None, [tick(nimg), tick(nimg)], None)
    ticks, _ = read_history(tmp_path / "history.jsonl")
    assert [t.nimg for t in ticks] == [32, 64]
    assert ticks[0].metrics["progress/kimg"] == 0.032
    assert any(name.startswith("system/") for name in ticks[0].metrics)


def test_a_tick_that_comes_again_after_a_resume_is_recorded_once(tmp_path: Path) -> None:
    for nimgs in ((32, 64, 96), (64, 96, 128)):
        record = Recorder(Run(str(tmp_path)), None)
        for nimg in nimgs:
            record.after_report(None, [tick(nimg, x=len(nimgs))], None)
    assert [t.nimg for t in read_history(tmp_path / "history.jsonl")[0]] == [32, 64, 96, 128]


def test_workers_that_start_again_bring_the_ticks_of_checkpoints_that_were_never_reported(tmp_path: Path) -> None:
    record = Recorder(Run(str(tmp_path)), None)
    record.after_report(None, [tick(32, **{STARTED: 1.0})], None)
    ticks = [{"nimg": 64, "metrics": tick(64, x=1.0), "time": 2.0}]
    storage.write_json_verified(f"{tmp_path}/checkpoint_{64:012d}/manifest.json", {"ticks": ticks})
    record.after_report(None, [tick(96, **{STARTED: 1.0})], None)
    assert [t.nimg for t in read_history(tmp_path / "history.jsonl")[0]] == [32, 64, 96]


def test_a_store_that_is_away_then_costs_no_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise storage.StorageUnreachableError("the store does not answer")

    monkeypatch.setattr(Run, "recover_ticks", away)
    Recorder(Run(str(tmp_path)), None).after_report(None, [tick(32, **{STARTED: 1.0})], None)
    assert [t.nimg for t in read_history(tmp_path / "history.jsonl")[0]] == [32]
    assert "the store does not answer" in caplog.text


def test_a_history_that_cannot_be_written_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: History, *record: Any) -> bool:
        raise OSError(28, "No space left on device")

    record = Recorder(Run(str(tmp_path)), None)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(History, "append", full)
        record.after_report(None, [tick(32)], None)
    assert "No space left on device" in caplog.text and "training goes on" in caplog.text
    record.after_report(None, [tick(64)], None)
    assert [t.nimg for t in read_history(tmp_path / "history.jsonl")[0]] == [64]


@pytest.mark.parametrize("ranks", [[], [{"no": 1}], [tick(8, odd="text")]])  # type: ignore[arg-type]
def test_a_report_of_nonsense_does_not_end_the_training(tmp_path: Path, ranks: list[dict[str, Any]]) -> None:
    Recorder(Run(str(tmp_path)), None).after_report(None, ranks, None)
    assert read_history(tmp_path / "history.jsonl")[0] == []


def test_a_lost_worker_is_a_phase_with_its_rank_and_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[Any] = []
    monkeypatch.setattr(phases, "enter", lambda *phase: entered.append(phase))
    failures = {3: ValueError("later"), 1: RuntimeError("Traceback\n  ...\nthe worker died")}
    Recorder(Run(str(tmp_path)), None).after_exception(None, failures)
    assert entered == [(str(tmp_path), phases.LOST, "rank 1 failed: the worker died")]


def test_the_history_lies_where_the_driver_says_even_if_the_controller_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, controller = tmp_path / "driver", tmp_path / "controller"
    for folder in (driver, controller):
        folder.mkdir()
    monkeypatch.chdir(driver)
    sent = pickle.dumps(Recorder(Run("s3://bucket/run"), None))
    monkeypatch.chdir(controller)
    pickle.loads(sent).after_report(None, [tick(32)], None)
    assert [t.nimg for t in read_history(driver / "runs" / "run" / "history.jsonl")[0]] == [32]
    assert os.listdir(controller) == []


def test_without_a_tracking_uri_there_is_no_replica_and_track_asks_for_one(tmp_path: Path) -> None:
    experiment = presets.load("debug_mnist32_alae")
    run = Run(str(tmp_path / "run"))
    assert track.replica(experiment, run) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").write_text(experiment.to_json())
    with pytest.raises(ValueError, match="the run 'run' was not tracked; name an MLflow server with --uri"):
        track.replay(run.url, None)


def test_track_of_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a run: it has no experiment\.json"):
        track.replay(str(tmp_path), "sqlite:///x.db")


def test_a_replica_takes_what_differs_from_the_preset_as_params_and_all_of_it_as_origin(tmp_path: Path) -> None:
    changed = ["algorithm.loss.latent_reconstruction_weight=2.5", "evaluation.samples=8", "scaling.workers=2"]
    experiment = override(presets.load("debug_mnist32_alae"), [*changed, "tracking.uri=http://127.0.0.1:1"])
    replica = track.replica(experiment, Run(str(tmp_path)))
    assert replica is not None and replica.origin is not None
    assert replica.run_name == "debug_mnist32_alae"
    assert replica.params == {"algorithm.loss.latent_reconstruction_weight": "2.5"}
    assert replica.tags["alae.algorithm"] == "alae" and replica.tags["alae.preset"] == "debug_mnist32_alae"
    assert replica.tags["alae.overrides"] == "algorithm.loss.latent_reconstruction_weight=2.5 evaluation.samples=8"
    assert replica.origin.source()["mlflow.source.name"] == f"alae train {tmp_path}/experiment.json"


def test_track_judges_a_run_by_what_its_newest_checkpoint_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    class Away:
        def __init__(self, *, best_metric: str | None, **_: Any) -> None:
            asked.append(best_metric)

        def sync(self, **_: Any) -> None:
            pass

    monkeypatch.setattr(track, "MLflowReplica", Away)
    begun = override(presets.load("debug_mnist32_alae"), ["evaluation.metrics=fd_pixels1k"])
    (tmp_path / "experiment.json").write_text(begun.to_json())
    track.replay(str(tmp_path), "sqlite:///x.db")
    resumed = ["evaluation.metrics=fd_pixels1k,reciprocity1k", "tracking.best_metric=reciprocity1k"]
    save(tmp_path, 1000, override(presets.load("debug_mnist32_alae"), resumed))
    track.replay(str(tmp_path), "sqlite:///x.db")
    assert asked == ["fd_pixels1k", "reciprocity1k"]
