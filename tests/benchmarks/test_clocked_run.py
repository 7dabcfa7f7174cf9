"""The benchmarks' run in one process: its curve, its clock, and its resume."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alae_core.state import TrainState
from benchmarks.clocked_run import CHECKED_EVERY, ClockedRun, lines
from pipelines import presets
from pipelines.experiment.override import override

pytestmark = pytest.mark.slow

SMALL = override(presets.load("debug_mnist32_alae"), ["schedule.stable_kimg=0.32"])
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
Evaluate = Callable[[TrainState], dict[str, float]]


def _scores(state: TrainState) -> dict[str, float]:
    return {"nimg": state.nimg}


def _run(out: Path, evaluate: Evaluate = _scores, every_kimg: float = 0.064, **options: Any) -> ClockedRun:
    return ClockedRun(experiment=SMALL, pixels=PIXELS, out=out, every_kimg=every_kimg, evaluate=evaluate, **options)


def _untimed(out: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "cpu_s"} for line in lines(out)]


def test_a_line_is_written_at_every_so_many_images_and_at_the_end(tmp_path: Path) -> None:
    _run(tmp_path).run()
    assert [line["nimg"] for line in lines(tmp_path)] == [64, 128, 192, 256, 320]
    assert all("generator/fake" in line for line in lines(tmp_path))


def test_a_run_killed_within_an_evaluation_goes_on_from_the_last_line_to_the_same_curve(tmp_path: Path) -> None:
    def killed(state: TrainState) -> dict[str, float]:
        if state.nimg > 128:
            raise KeyboardInterrupt
        return _scores(state)

    _run(tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "killed", killed).run()
    spent = lines(tmp_path / "killed")[-1]["cpu_s"]
    resumed = _run(tmp_path / "killed")
    assert resumed.state.nimg == 128 and resumed.cpu_s == pytest.approx(spent, abs=0.06)
    resumed.run()
    assert _untimed(tmp_path / "killed") == _untimed(tmp_path / "whole")


def test_a_line_whose_state_was_not_saved_is_made_again(tmp_path: Path) -> None:
    def killed(found: list[dict[str, Any]]) -> None:
        if len(found) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, after_line=killed).run()
    assert len(lines(tmp_path)) == 2
    _run(tmp_path).run()
    assert [line["nimg"] for line in lines(tmp_path)] == [64, 128, 192, 256, 320]


def test_the_time_of_evaluations_is_not_counted_and_the_clock_ends_the_run(tmp_path: Path) -> None:
    def slow(state: TrainState) -> dict[str, float]:
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        return _scores(state)

    run = _run(tmp_path / "whole", slow)
    began = time.process_time()
    run.run()
    assert run.cpu_s < time.process_time() - began - 5 * 0.3
    _run(tmp_path / "short", every_kimg=10, cpu_minutes=1e-9).run()
    assert [line["nimg"] for line in lines(tmp_path / "short")] == [CHECKED_EVERY]


def test_another_experiment_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    _run(tmp_path)
    other = override(SMALL, ["seed=1"])
    with pytest.raises(ValueError, match=r"holds another run .*seed: 0 -> 1.*give another folder"):
        ClockedRun(experiment=other, pixels=PIXELS, out=tmp_path, every_kimg=1, evaluate=_scores)
