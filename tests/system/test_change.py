"""A declared change of a run's settings is exact: killed after it and resumed in a copy, the run ends bit-identical."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.runs import checkpoint
from pipelines.runs.history import read_history
from tests.support.runs import OVERRIDES, Command, differing, evaluations, final_state, repeatable

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SHORT, LONG = "schedule.stable_kimg=0.16,0.176", "schedule.stable_kimg=0.16,0.496"
ENDED, END = 496, 816
CHANGE = (LONG, "schedule.batch_size=8,16", "schedule.lr=0.0005", "algorithm.loss.latent_reconstruction_weight=0.5")


def test_a_finished_run_goes_on_longer_with_another_batch_rate_and_weight_and_a_copy_that_is_killed_ends_alike(
    commands: Callable[..., Command],
    tiny_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The change falls into a shuffle window: 336 images of the level are seen, and its windows have 64.
    place = {"storage": str(tmp_path), "dataset": str(tiny_dataset), "overrides": (*OVERRIDES, SHORT)}
    whole = commands(name="whole", **place).start()
    whole.finish()
    assert final_state(whole.run)["nimg"] == ENDED
    before = checkpoint.latest(whole.run.url)
    assert before is not None
    assert main(["change", whole.run.url, *CHANGE]) == 0
    assert "changes from 0.496 kimg on" in capsys.readouterr().out
    moved_data = shutil.copytree(tiny_dataset, tmp_path / "data")
    shutil.copytree(whole.run.url, tmp_path / "copy")

    commands(name="whole", **place).start().finish()
    copy = commands(name="copy", **{**place, "dataset": str(moved_data)}).start()
    copy.wait_for(ENDED + 100, copy.run.history)
    copy.kill_driver()
    # Whoever repeats the changed settings means the same run.
    resumed = {**place, "dataset": str(moved_data), "overrides": (*OVERRIDES, *CHANGE)}
    commands(name="copy", **resumed).start().finish()

    assert final_state(whole.run)["nimg"] == END
    assert differing(final_state(copy.run), final_state(whole.run)) == []
    assert repeatable(copy.run.history) == repeatable(whole.run.history)
    assert evaluations(copy.run) == evaluations(whole.run) != []
    ticks = read_history(whole.run.history)[0]
    assert {tick.metrics["progress/lr"] for tick in ticks if tick.nimg > ENDED} == {0.0005}
    newest = checkpoint.latest(copy.run.url)
    assert newest is not None
    (change,) = copy.run.changes()
    assert checkpoint.read_manifest(newest.url)["changes"] == [change.record()] and change.nimg == ENDED
