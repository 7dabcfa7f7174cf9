"""A run's places and its identity: what may resume it, and what is refused."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import presets, storage
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.experiment.paths import with_absolute_paths
from pipelines.runs.history import History, Tick, read_history
from pipelines.runs.run import Run
from pipelines.training import phases, trainer

BASE = presets.load("debug_mnist32_alae")
PACKED: Any = (SimpleNamespace(identity={"train": "abc"}),)
"""The dataset of a run of one domain, as far as a run looks at it."""


TICK_LINE = json.dumps({"nimg": 8, "time": 1.0, "metrics": {"a/b": 0.5}}) + "\n"


def checkpoint_at(run: Run, nimg: int, ticks: Sequence[Tick] = ()) -> None:
    manifest = {"ticks": [asdict(tick) for tick in ticks]}
    storage.write_json_verified(f"{run.url}/checkpoint_{nimg:012d}/manifest.json", manifest)


def test_a_local_run_lies_in_the_storage_folder_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.of(override(BASE, ["training.storage=here/runs", "name=a"]))
    monkeypatch.chdir("/")
    assert run.url == str(tmp_path / "here" / "runs" / "a")
    assert run.history == tmp_path / "here" / "runs" / "a" / "history.jsonl"


def test_a_file_url_means_the_same_folder(tmp_path: Path) -> None:
    assert Run(f"file://{tmp_path}/a").history == tmp_path / "a" / "history.jsonl"
    assert Run.of(override(BASE, [f"training.storage=file://{tmp_path}", "name=a"])) == Run(f"{tmp_path}/a")


def test_a_run_on_an_object_store_keeps_its_history_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run.of(override(BASE, ["training.storage=s3://bucket/deep/", "name=a"]))
    assert run.url == "s3://bucket/deep/a"
    assert run.history == tmp_path / "runs" / "a" / "history.jsonl"


def test_local_paths_become_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = with_absolute_paths(
        override(
            BASE,
            ["data.path=d", "training.storage=s", "training.init_from=c", "tracking.uri=sqlite:///m.db"],
        )
    )
    assert made.data.path == f"{tmp_path}/d"
    assert (made.training.storage, made.training.init_from) == (f"{tmp_path}/s", f"{tmp_path}/c")
    assert made.tracking.uri == f"sqlite:///{tmp_path}/m.db"
    remote = override(BASE, ["data.path=s3://b/d", "training.storage=s3://b/r", "tracking.uri=http://h:1"])
    assert with_absolute_paths(remote) == remote


def test_a_run_remembers_its_experiment(tmp_path: Path) -> None:
    run = Run(str(tmp_path / BASE.name))
    run.claim(BASE, PACKED)
    assert run.experiment() == BASE
    run.claim(BASE, PACKED)  # a resume


def test_a_resume_with_changed_settings_is_refused_with_each_difference(tmp_path: Path) -> None:
    run = Run(str(tmp_path / "debug_mnist32_alae"))
    run.claim(BASE, PACKED)
    checkpoint_at(run, 32)
    before = (tmp_path / "debug_mnist32_alae" / "experiment.json").read_bytes()
    with pytest.raises(ValueError) as caught:
        run.claim(
            override(BASE, ["seed=3", "training.ema_half_life_kimg=5", "data.flip=true", "scaling.workers=4"]), PACKED
        )
    message = str(caught.value)
    for difference in ("seed: 0 -> 3", "training.ema_half_life_kimg: 0.1 -> 5.0", "data.flip: false -> true"):
        assert difference in message
    assert "scaling.workers" not in message
    for way_out in ("give another name=...", f"alae change {run.url} ", f"training.init_from={run.url}", "--restart"):
        assert way_out in message
    assert "\n" not in message
    assert (tmp_path / "debug_mnist32_alae" / "experiment.json").read_bytes() == before


@pytest.mark.parametrize(
    "change", ["scaling.workers=2", "training.microbatch=2", "evaluation.samples=64", "tracking.experiment=b"]
)
def test_a_resume_may_change_what_does_not_touch_the_mathematics(tmp_path: Path, change: str) -> None:
    run = Run(str(tmp_path))
    run.claim(BASE, PACKED)
    run.claim(override(BASE, [change]), PACKED)


def test_a_dataset_may_lie_elsewhere_and_must_have_the_same_checksums(tmp_path: Path) -> None:
    run, repacked = Run(str(tmp_path)), (SimpleNamespace(identity={"train": "xyz"}),)
    elsewhere = override(BASE, ["data.path=elsewhere"])
    run.claim(BASE, PACKED)
    checkpoint_at(run, 32)
    run.claim(elsewhere, PACKED)
    for experiment in (BASE, elsewhere):
        with pytest.raises(
            ValueError,
            match=f"data.path={experiment.data.path} is not the dataset that the run 'debug_mnist32_alae' began",
        ):
            run.claim(experiment, repacked)  # type: ignore[arg-type]


def test_a_run_without_checksums_of_its_dataset_keeps_to_the_path(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    run.claim(BASE, PACKED)
    checkpoint_at(run, 32)
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(
        ValueError, match=r"began with data/mnist32 and kept no checksums, .* resume it with data\.path=data"
    ):
        run.claim(override(BASE, ["data.path=elsewhere"]), PACKED)
    run.claim(BASE, PACKED)
    run.claim(override(BASE, ["data.path=elsewhere"]), PACKED)


def test_a_renamed_folder_is_the_run_of_its_new_name(tmp_path: Path) -> None:
    Run(str(tmp_path / "old")).claim(override(BASE, ["name=old"]), PACKED)
    (tmp_path / "old").rename(tmp_path / "new")
    run = Run(str(tmp_path / "new"))
    run.claim(override(BASE, ["name=new"]), PACKED)
    assert run.experiment() == override(BASE, ["name=new"])


def test_a_run_of_two_domains_remembers_both_datasets_and_refuses_either_packed_anew(tmp_path: Path) -> None:
    run, a, b, c = Run(str(tmp_path)), *(SimpleNamespace(identity={"train": letter}) for letter in "abc")
    for _ in range(2):
        run.claim(BASE, (a, b))  # type: ignore[arg-type]
    checkpoint_at(run, 32)
    assert json.loads((tmp_path / "dataset.json").read_text()) == {"a": a.identity, "b": b.identity}
    for changed in ((c, b), (a, c), (b, a)):
        with pytest.raises(ValueError, match="is not the dataset that the run"):
            run.claim(BASE, changed)  # type: ignore[arg-type]


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/nowhere is not a run: it has no experiment\.json"):
        Run(str(tmp_path / "nowhere")).experiment()


def test_a_run_is_finished_when_a_checkpoint_has_reached_the_end_of_the_schedule(tmp_path: Path) -> None:
    run, total = Run(str(tmp_path)), BASE.schedule.total_nimg
    assert run.finished_at(BASE) is None
    checkpoint_at(run, total - 8)
    assert run.finished_at(BASE) is None
    checkpoint_at(run, total)
    found = run.finished_at(BASE)
    assert found is not None and found.nimg == total


def test_a_failure_is_reported_with_the_last_checkpoint_until_a_new_attempt_begins(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    run.raise_failure()
    run.fail_on_first_rank("discriminator/fake is not finite at 0.064 kimg")
    with pytest.raises(RuntimeError, match=r"is not finite at 0\.064 kimg; no checkpoint yet in "):
        run.raise_failure()
    checkpoint_at(run, 32)
    with pytest.raises(RuntimeError, match=r"is not finite at 0\.064 kimg; last checkpoint 0\.032 kimg in "):
        run.raise_failure()
    run.begin()
    run.raise_failure()


def test_only_the_first_rank_writes_a_failure_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.runs.run.sync.rank", lambda: 1)
    Run(str(tmp_path)).fail_on_first_rank("reason")
    assert list(tmp_path.iterdir()) == []


def test_ticks_that_only_checkpoints_know_come_into_the_history_in_order_and_once(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    History(run.history).append(32, {"a/b": 1.0}, time=5.0)
    checkpoint_at(run, 64, [Tick(32, {"a/b": 1.0}, 5.0), Tick(64, {"a/b": 2.0}, 6.0)])
    checkpoint_at(run, 128, [Tick(96, {"a/b": None}, 7.0), Tick(128, {"a/b": 4.0}, 8.0)])
    run.recover_ticks(History(run.history), before=128)
    assert [tick.nimg for tick in read_history(run.history)[0]] == [32, 64]
    for _ in range(2):
        run.fetch_history()
        ticks, _ = read_history(run.history)
        assert [(tick.nimg, tick.metrics["a/b"], tick.time) for tick in ticks] == [
            (32, 1.0, 5.0),
            (64, 2.0, 6.0),
            (96, None, 7.0),
            (128, 4.0, 8.0),
        ]


def test_the_ticks_of_a_last_checkpoint_that_was_never_reported_are_in_the_finished_runs_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = override(BASE, [f"training.storage={tmp_path}", "evaluation.enabled=false"])
    run, total = Run.of(experiment), BASE.schedule.total_nimg

    def fit() -> None:
        """As a run whose worker was lost between the last upload and its report, and begun again had nothing to do."""
        checkpoint_at(run, total, [Tick(total, {"a/b": 1.0}, 5.0)])

    monkeypatch.setattr(trainer, "_trainer", lambda *_: SimpleNamespace(fit=fit))
    trainer._fit(experiment, run, nullcontext, phases.silently)
    assert [(tick.nimg, tick.metrics) for tick in read_history(run.history)[0]] == [(total, {"a/b": 1.0})]


def test_a_damaged_record_of_the_experiment_is_named(tmp_path: Path) -> None:
    run = Run(str(tmp_path))
    record = json.loads(BASE.to_json())
    del record["schedule"]
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="schedule"):
        run.experiment()
    assert Experiment.from_json(BASE.to_json()) == BASE
