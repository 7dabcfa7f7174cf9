"""Output on the terminal: the progress bar, the result of packing, and the summary of a run."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import presets
from pipelines.cli import bar as bar_module
from pipelines.cli import tables
from pipelines.cli.bar import Bar
from pipelines.data.format.pyramid import Labels
from pipelines.data.pack.pack import PackReport
from pipelines.experiment.override import override
from pipelines.runs.history import History
from pipelines.runs.run import Run
from pipelines.tracking.replica import SyncResult
from pipelines.training.trainer import Outcome

TICK = {"progress/level": 0, "time/images_per_s": 10.0, "time/data_wait_frac": 0.9}


def outcome(folder: Path, *overrides: str, tracked: bool = True, already_finished: bool = False) -> Outcome:
    """A run with four ticks: the first waited for data, and the last two belong to the last level."""
    history = History(folder / "history.jsonl")
    history.append(8, TICK)
    history.append(16, TICK | {"time/data_wait_frac": 0.25})
    history.append(24, TICK | {"progress/level": 1, "time/images_per_s": 4.0, "time/data_wait_frac": 0.5})
    history.append(32, TICK | {"progress/level": 1, "time/images_per_s": 6.0, "time/data_wait_frac": math.nan})
    experiment = override(presets.load("debug_mnist32_style_alae"), overrides)
    return Outcome(Run(str(folder)), experiment, already_finished, tracked)


def test_the_summary_gives_the_rate_of_the_last_level_and_the_waiting_after_the_first_tick(tmp_path: Path) -> None:
    last = tables.summary(outcome(tmp_path)).splitlines()[-1]
    assert last == "5 images/s at the last level; 37.5% of the time waited for data"


def test_of_many_alarms_three_are_shown_and_the_command_that_lists_all(tmp_path: Path) -> None:
    alarms = [{"name": f"alarm{n}", "nimg": 8, "sentence": "is low", "stops": False} for n in range(5)]
    finished = outcome(tmp_path / "run")
    (tmp_path / "run" / "alarms.json").write_text(json.dumps({"alarms": alarms}))
    lines = tables.summary(finished).splitlines()
    assert sum(line.startswith("alarm ") for line in lines) == 3
    assert f"2 more alarms: alae runs {tmp_path}" in lines


@pytest.mark.parametrize(("finished", "words"), [(True, "was already finished"), (False, "finished")])
def test_the_summary_says_whether_the_run_trained(tmp_path: Path, finished: bool, words: str) -> None:
    first = tables.summary(outcome(tmp_path, already_finished=finished)).splitlines()[0]
    assert first == f"run debug_mnist32_style_alae {words}: 0.48 kimg in {tmp_path}"


def test_a_run_that_mlflow_lacks_names_the_command_that_brings_it_up_to_date(tmp_path: Path) -> None:
    uri = "tracking.uri=sqlite:///m.db"
    assert f"alae track {tmp_path}" in tables.summary(outcome(tmp_path, uri, tracked=False))
    assert "alae track" not in tables.summary(outcome(tmp_path, uri, tracked=True))
    assert "review it with" not in tables.summary(outcome(tmp_path, tracked=True))


def test_a_run_without_any_record_still_has_a_summary(tmp_path: Path) -> None:
    bare = replace(outcome(tmp_path / "a"), run=Run(str(tmp_path / "b")))
    assert tables.summary(bare) == f"run debug_mnist32_style_alae finished: 0.48 kimg in {tmp_path}/b"


class Screen(io.StringIO):
    """Standard error that is a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def clock(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    times = iter(seconds)
    monkeypatch.setattr(bar_module.time, "monotonic", lambda: next(times))


def test_a_bar_tells_the_rate_since_its_first_call_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True)
    monkeypatch.setattr("sys.stderr", screen)
    clock(monkeypatch, 0, 10, 100, 200)
    with Bar("packing", width=4) as bar:
        for done in (2000, 3000, 11000, 22000):
            bar(done, 22000)
    _, first, later, last, more, end = (
        line.rstrip() for line in f"{screen.getvalue()}.".replace("\n", "\r").split("\r")
    )
    assert first == "packing [....] 2,000/22,000"
    assert later == "packing [....] 3,000/22,000  100 images/s, 3 min 10 s left"
    assert last == "packing [##..] 11,000/22,000  90 images/s, 2 min 2 s left"
    assert more == "packing [####] 22,000/22,000  100 images/s"
    assert end == "."


def test_a_bar_that_is_left_by_an_error_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=True)
    monkeypatch.setattr("sys.stderr", screen)
    with pytest.raises(ValueError), Bar("packing") as bar:
        bar(1, 2)
        raise ValueError
    assert screen.getvalue().endswith("\n")


def test_where_nobody_looks_a_bar_is_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(terminal=False)
    monkeypatch.setattr("sys.stderr", screen)
    clock(monkeypatch, 0, 59, 60, 61, 121)
    with Bar("packing") as bar:
        for done in (0, 59, 60, 61, 121):
            bar(done, 7200)
    assert screen.getvalue() == (
        "packing: 60 of 7,200 images, 1 images/s, 1 h 59 min left\npacking: 121 of 7,200 images, 1 images/s, 1 h 57 min left\n"
    )


def packing_report(**facts: object) -> PackReport:
    splits = {name: SimpleNamespace(rows=count) for name, count in (("train", 1200), ("validation", 30))}
    plain = {"splits": splits, "resolution": 64, "rejected": 0, "duplicates": {"exact": 0, "near": 0}, "notes": {}}
    return PackReport("d", SimpleNamespace(**plain | {"labels": None} | facts))  # type: ignore[arg-type]


def test_a_packing_tells_its_images_and_nothing_else_where_all_is_well() -> None:
    assert tables.packed(packing_report()) == "packed 1,200 train, 30 validation images of 64x64 px into d"


def test_a_packing_tells_what_was_rejected_what_is_double_and_what_was_lost() -> None:
    output = tables.packed(
        packing_report(rejected=2, duplicates={"exact": 1, "near": 3}, notes={"one frame is taken": 7})
    )
    assert output.splitlines()[1:] == [
        "  2 files rejected, listed in d/rejected.jsonl",
        "  1 exact and 3 near duplicates of other images, kept and listed in d/duplicates.jsonl",
        "  7 images: one frame is taken",
    ]


def test_packings_of_two_domains_are_told_one_after_the_other() -> None:
    output = tables.packed(packing_report(rejected=2), replace(packing_report(), dest="e"))
    assert [line.split()[-1] for line in output.splitlines()] == ["d", "d/rejected.jsonl", "e"]


def test_a_packing_of_two_domains_as_classes_says_how_they_are_packed_apart() -> None:
    output = tables.packed(packing_report(labels=Labels(3, ("testA", "trainA", "trainB"))))
    assert output.endswith("trainA and trainB: for a translator pack them with --domains folders")
    assert "domains" not in tables.packed(packing_report(labels=Labels(2, ("trainA", "trainC"))))


def test_a_packing_tells_what_was_there_already() -> None:
    assert "resumed after 3 finished shards" in tables.packed(replace(packing_report(), resumed_shards=3))
    output = tables.packed(replace(packing_report(), discarded_shards=3))
    assert "3 shards of an unfinished packing of other images or options were deleted" in output
    output = tables.packed(replace(packing_report(), already_done=True))
    assert output == "d is already packed from these images: 1,200 train, 30 validation"


def test_a_sync_tells_what_was_added() -> None:
    output = tables.tracked(SyncResult("abc", ticks=4, evaluations=2, figures=1))
    assert output == "MLflow run abc: 4 ticks, 2 evaluations and 1 figures added"
