"""Following a run from the driver reports every new record once and in order, and no earlier one."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import presets
from pipelines.experiment.override import override
from pipelines.runs.evaluations import read_evaluations
from pipelines.runs.history import History, Tick
from pipelines.runs.run import Run
from pipelines.training import progress
from pipelines.training.progress import Table, follow
from tests.support import measured

TICK = {
    "discriminator/fake": 0.6931,
    "loss/discriminator": 1.3868,
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


def table(*overrides: str) -> Table:
    return Table(override(presets.load("debug_mnist32_style_alae"), overrides))


def test_a_tick_is_a_line_under_a_heading_with_the_progress_of_a_short_run_in_decimals() -> None:
    heading, row = table().lines(Tick(240, dict(TICK), 0.0))
    assert heading.split() == ["kimg", "px", "blend", "discriminator", "img/s", "wait", "left"]
    assert row.split() == ["0.24/0.48", "8", "0.25", "1.387", "2", "2%", "2:00"]
    assert len(row) == len(heading)


@pytest.mark.parametrize(
    ("tick_kimg", "total_kimg", "shown"), [(0.032, 2.24, "0.24/2.24"), (0.5, 1000, "0.2/1000.0"), (4, 8000, "0/8000")]
)
def test_progress_has_the_decimals_that_ticks_differ_by(tick_kimg: float, total_kimg: float, shown: str) -> None:
    last = f"schedule.stable_kimg={total_kimg / 2}"
    _, row = table(f"training.tick_kimg={tick_kimg}", last, "schedule.fade_kimg=0").lines(Tick(240, dict(TICK), 0.0))
    assert row.split()[0] == shown


def test_columns_stay_aligned_where_a_lazy_update_did_not_run_or_a_loss_is_not_finite() -> None:
    shown = table()
    losses = {"loss/penalty": 8.4, "loss/discriminator": 12345.6}
    full = shown.lines(Tick(32, TICK | losses, 0.0))[-1]
    (lazy,) = shown.lines(Tick(64, TICK | {"loss/discriminator": None}, 0.0))
    assert full.split()[3:5] == ["1.235e+04", "8.400"] and lazy.split()[3] == "2"
    assert [lazy.index(cell) for cell in ("0.25", "2%", "3:28")] == [
        full.index(cell) for cell in ("0.25", "2%", "3:44")
    ]


def test_a_line_is_narrow_however_many_updates_and_terms_there_are() -> None:
    many = {f"loss/a_long_name_of_an_update_{number}": 1.0 for number in range(18)}
    terms = {f"generator/term_{number}": 1.0 for number in range(18)}
    lines = table("schedule.stable_kimg=4000").lines(Tick(240, TICK | many | terms, 0.0))
    assert all(len(line) <= progress.WIDTH for line in lines) and "a_long_name_of_an_update_0" in lines[0]


def test_the_heading_comes_again_after_twenty_lines() -> None:
    shown = table()
    headed = [nimg for nimg in range(1, 50) if len(shown.lines(Tick(nimg, dict(TICK), 0.0))) == 2]
    assert headed == [1, 21, 41]


def test_skipped_images_stand_at_the_end_of_the_line_if_there_are_any() -> None:
    for skipped in (0, 5):
        row = table().lines(Tick(240, TICK | {"data/skipped_images": skipped}, 0.0))[-1]
        assert row.endswith("2:00" + (f"  skipped {skipped} images" if skipped else ""))


def test_an_evaluation_is_a_line_with_error_bars_and_directions(tmp_path: Path) -> None:
    experiment = override(presets.load("debug_mnist32_style_alae"), ["evaluation.metrics=fd_pixels1k,msssim1k"])
    measured.evaluate(tmp_path, 256, msssim1k=0.25, fd_pixels1k=12.34)
    (found,) = read_evaluations(str(tmp_path))
    assert progress.evaluation_line(experiment, found) == (
        "evaluated at 0.256 kimg: fd_pixels1k 12.34 ± 0.50 (lower is better), msssim1k 0.25 ± 0.50"
    )
    measured.evaluate(tmp_path, 512)
    assert (
        progress.evaluation_line(experiment, read_evaluations(str(tmp_path))[1])
        == "evaluated at 0.512 kimg: pages only"
    )
