"""What the terminal shows: the bar, the packing, the closing table of a run."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import presets, report
from pipelines.data.packing import PackReport
from pipelines.history import History
from pipelines.override import override
from pipelines.run import Run
from pipelines.tracking import SyncResult
from pipelines.trainer import Outcome

TICK = {"progress/level": 0, "time/images_per_s": 10.0, "time/data_wait_frac": 0.9}


def outcome(folder: Path, *overrides: str, tracked: bool = True, already_finished: bool = False) -> Outcome:
    """A run with four ticks, of which the first waited for its data, and the last two are of the last level."""
    history = History(folder / "history.jsonl")
    history.append(8, TICK)
    history.append(16, TICK | {"time/data_wait_frac": 0.25})
    history.append(24, TICK | {"progress/level": 1, "time/images_per_s": 4.0, "time/data_wait_frac": 0.5})
    history.append(32, TICK | {"progress/level": 1, "time/images_per_s": 6.0, "time/data_wait_frac": math.nan})
    experiment = override(presets.load("debug_mnist32_style_alae"), overrides)
    return Outcome(Run(str(folder)), experiment, already_finished, tracked)


def evaluate(folder: Path, nimg: int, **metrics: float) -> None:
    (folder / "evaluations").mkdir(exist_ok=True)
    record = {"nimg": nimg, "metrics": metrics, "figures": {"samples": f"figures/samples_{nimg}.png"}}
    (folder / "evaluations" / f"{nimg:012d}.json").write_text(json.dumps(record))


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_summary_compares_the_first_checkpoint_with_the_last(tmp_path: Path) -> None:
    evaluate(tmp_path, 64, **{"eval/fd": 12.3456, "eval/old": 1.0})
    evaluate(tmp_path, 256, **{"eval/fd": 9.0})
    evaluate(tmp_path, 480, **{"eval/fd": 3.0, "eval/new": 0.5})
    rows = cells(report.summary(outcome(tmp_path)))
    assert ["kimg", "0.064", "0.48"] in rows
    assert ["fd", "12.35", "3"] in rows
    assert ["new", "-", "0.5"] in rows
    assert ["samples", f"{tmp_path}/figures/samples_480.png"] in rows


def test_the_summary_tells_the_rate_of_the_last_level_and_the_waiting_after_the_first_tick(tmp_path: Path) -> None:
    text = report.summary(outcome(tmp_path))
    assert ["images/s", "at", "the", "last", "level", "5"] in cells(text)
    assert text.splitlines()[-1].split()[-1] == "37.50%"


@pytest.mark.parametrize(("finished", "words"), [(True, "was already finished"), (False, "finished")])
def test_the_summary_says_whether_the_run_trained(tmp_path: Path, finished: bool, words: str) -> None:
    first = report.summary(outcome(tmp_path, already_finished=finished)).splitlines()[0]
    assert first == f"run debug_mnist32_style_alae {words}: 0.48 kimg in {tmp_path}"


def test_a_run_that_mlflow_lacks_names_the_command_that_brings_it_up_to_date(tmp_path: Path) -> None:
    uri = "tracking.uri=sqlite:///m.db"
    assert f"alae track {tmp_path}" in report.summary(outcome(tmp_path, uri, tracked=False))
    assert "alae track" not in report.summary(outcome(tmp_path, uri, tracked=True))
    assert "review it with" not in report.summary(outcome(tmp_path, tracked=True))


def test_a_run_without_any_record_still_has_a_summary(tmp_path: Path) -> None:
    bare = replace(outcome(tmp_path / "a"), run=Run(str(tmp_path / "b")))
    assert report.summary(bare) == f"run debug_mnist32_style_alae finished: 0.48 kimg in {tmp_path}/b"


def test_a_bar_is_silent_where_nobody_looks_and_full_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        looking = False

        def isatty(self) -> bool:
            return self.looking

    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    bar = report.Bar("packing", width=4)
    bar(1, 2)
    assert screen.getvalue() == ""
    screen.looking = True
    bar(1, 2)
    assert "packing [##..] 1/2" in screen.getvalue() and not screen.getvalue().endswith("\n")
    bar(2, 2)
    assert "packing [####] 2/2" in screen.getvalue() and screen.getvalue().endswith("\n")


def test_a_packing_tells_what_was_rejected_and_what_was_there_already() -> None:
    rows = {"train": 1200, "validation": 30}
    manifest = SimpleNamespace(splits={name: SimpleNamespace(rows=count) for name, count in rows.items()}, rejected=2)
    fresh = PackReport("d", manifest)  # type: ignore[arg-type]
    assert report.packed(fresh) == (
        "packed 1,200 train, 30 validation images into d; 2 rejected, listed in d/rejected.jsonl"
    )
    assert "resumed after 3 finished shards" in report.packed(replace(fresh, resumed_shards=3))
    assert report.packed(replace(fresh, already_done=True)).startswith("d is already packed from these images: 1,200")


def test_a_sync_tells_what_was_added() -> None:
    told = report.tracked(SyncResult("abc", ticks=4, evaluations=2, figures=1))
    assert told == "MLflow run abc: 4 ticks, 2 evaluations and 1 figures added"
