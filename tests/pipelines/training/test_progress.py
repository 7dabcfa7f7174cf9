"""Following a run from the driver reports every new record once and in order, and no earlier one."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import presets
from pipelines.runs.history import History, Tick
from pipelines.runs.run import Run
from pipelines.training import progress
from pipelines.training.progress import follow, line

TICK = {
    "discriminator/fake": 0.6931,
    "progress/nimg": 240,
    "progress/resolution": 8,
    "progress/blend": 0.25,
    "time/images_per_s": 2.0,
    "time/data_wait_frac": 0.015,
    "system/cpu_utilization_percentage": 50.0,
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_S", 0.01)


class Reported:
    """The items that a follower reported, with a way to wait for them."""

    def __init__(self, key: Callable[[Any], Any]) -> None:
        self.items: list[Any] = []
        self._key, self._more = key, threading.Condition()

    def __call__(self, item: Any) -> None:
        with self._more:
            self.items.append(self._key(item))
            self._more.notify_all()

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.items) >= count, timeout=10), self.items


def evaluate(run: Path, nimg: int) -> None:
    folder = run / "evaluations"
    folder.mkdir(exist_ok=True)
    draft = folder / f".{nimg}"
    draft.write_text(json.dumps({"nimg": nimg, "metrics": {"eval/fd": 1.5}, "figures": {}, "time": 1.0}))
    draft.rename(folder / f"{nimg:012d}.json")


def test_each_tick_and_evaluation_is_reported_once_and_in_order_while_the_run_goes_on(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.append(8, TICK)
    evaluate(tmp_path, 8)
    ticks, evaluations = Reported(lambda tick: tick.nimg), Reported(lambda evaluation: evaluation.nimg)
    with follow(Run(str(tmp_path)), ticks, evaluations):
        for count, nimg in enumerate((16, 24), start=1):
            history.append(nimg, TICK)
            evaluate(tmp_path, nimg)
            ticks.wait_for(count)
            evaluations.wait_for(count)
    assert (ticks.items, evaluations.items) == ([16, 24], [16, 24])


def test_the_last_records_are_reported_before_the_following_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "POLL_S", 3600)
    ticks, evaluations = Reported(lambda tick: tick.nimg), Reported(lambda evaluation: evaluation.nimg)
    with follow(Run(str(tmp_path)), ticks, evaluations):
        History(tmp_path / "history.jsonl").append(8, TICK)
        evaluate(tmp_path, 8)
    assert (ticks.items, evaluations.items) == ([8], [8])


def test_the_end_of_a_run_that_fails_is_reported_too(tmp_path: Path) -> None:
    ticks = Reported(lambda tick: tick.nimg)
    with pytest.raises(RuntimeError, match="lost"), follow(Run(str(tmp_path)), ticks, None):
        History(tmp_path / "history.jsonl").append(8, TICK)
        raise RuntimeError("lost")
    assert ticks.items == [8]


def test_one_damaged_evaluation_does_not_silence_the_rest(tmp_path: Path) -> None:
    ticks, evaluations = Reported(lambda tick: tick.nimg), Reported(lambda evaluation: evaluation.nimg)
    with follow(Run(str(tmp_path)), ticks, evaluations):
        (tmp_path / "evaluations").mkdir()
        (tmp_path / "evaluations" / "000000000008.json").write_text("{")
        evaluate(tmp_path, 16)
        evaluations.wait_for(1)
        History(tmp_path / "history.jsonl").append(24, TICK)
        ticks.wait_for(1)
    assert (ticks.items, evaluations.items) == ([24], [16])


def test_a_line_tells_progress_losses_rate_waiting_and_time_left() -> None:
    experiment = presets.load("debug_mnist32_style_alae")
    shown = line(experiment, Tick(240, dict(TICK), 0.0)).split()
    assert "0.24/0" in shown or "0.24/0.48" in shown
    assert " ".join(shown).endswith("kimg 8 px blend 0.25 discriminator/fake 0.693 2 img/s wait 1.5% ETA 2:00")


def test_a_term_that_was_not_finite_is_left_out_of_the_line() -> None:
    shown = line(presets.load("debug_mnist32_style_alae"), Tick(240, TICK | {"discriminator/fake": None}, 0.0))
    assert "discriminator" not in shown


def test_skipped_images_stand_at_the_end_of_the_line_if_there_are_any() -> None:
    experiment = presets.load("debug_mnist32_style_alae")
    for skipped in (0, 5):
        shown = line(experiment, Tick(240, TICK | {"data/skipped_images": skipped}, 0.0))
        assert shown.endswith("ETA 2:00" + (f"  skipped {skipped} images" if skipped else ""))
