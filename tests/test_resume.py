"""A run that is killed anywhere and started again ends bit-identical to one that was left alone."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import checkpoint, presets
from pipelines.evaluation.readings import best, series
from pipelines.history import read_evaluations
from tests.runs import Command, differing, evaluations, final_state, repeatable

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOTAL = presets.load("debug_mnist32_style_alae").schedule.total_nimg
FADE = (160, 320)
"""Images between which the second level fades in."""


@pytest.fixture(scope="module")
def undisturbed(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The run that nothing happened to."""
    storage = tmp_path_factory.mktemp("undisturbed")
    command = Command(storage=str(storage), name="run", dataset=str(tiny_dataset)).start()
    try:
        command.finish()
    finally:
        command.kill_driver()
    return command


def _require_identical(run: Command, undisturbed: Command) -> None:
    assert differing(final_state(run.run), final_state(undisturbed.run)) == []
    assert repeatable(run.run.history) == repeatable(undisturbed.run.history)
    assert evaluations(run.run) == evaluations(undisturbed.run) != []
    assert _best_kept(run) == _best_kept(undisturbed)


def _best_kept(command: Command) -> list[int]:
    return [saved.nimg for saved in checkpoint.finished(f"{command.run.url}/best")]


def test_the_best_checkpoint_is_kept_beside_the_newest(undisturbed: Command) -> None:
    found = series(read_evaluations(undisturbed.run.url, own=True), "fd_pixels0.032k")
    leader = best(found)
    assert leader is not None and _best_kept(undisturbed) == [leader.nimg]
    keep = presets.load("debug_mnist32_style_alae").training.keep_checkpoints
    evaluated = [nimg for nimg, _ in evaluations(undisturbed.run)]
    assert [saved.nimg for saved in checkpoint.finished(undisturbed.run.url)] == evaluated[-keep:]


def test_a_run_whose_workers_and_whose_driver_are_killed_goes_on_by_the_same_command_and_ends_bit_identical(
    undisturbed: Command, commands: Callable[..., Command], tmp_path: Path
) -> None:
    draw = random.SystemRandom()  # other moments at every test run, one of them in the middle of the fade
    moments = sorted([draw.randint(*FADE), draw.randint(1, TOTAL - 60)])
    kinds = draw.sample(["worker", "driver"], 2)
    print("killed", list(zip(kinds, moments, strict=True)))
    run = commands(storage=str(tmp_path), name="run", dataset=undisturbed.dataset).start()
    for kind, moment in zip(kinds, moments, strict=True):
        run.wait_for(moment, run.run.history)
        if kind == "worker":
            run.kill_worker()
        else:
            run.kill_driver()
            run = commands(storage=str(tmp_path), name="run", dataset=undisturbed.dataset).start()
    run.finish()
    _require_identical(run, undisturbed)


def test_a_finished_run_started_again_trains_nothing(undisturbed: Command, commands: Callable[..., Command]) -> None:
    before = final_state(undisturbed.run)
    output = commands(storage=undisturbed.storage, name="run", dataset=undisturbed.dataset).start().finish()
    assert "was already finished" in output
    assert differing(final_state(undisturbed.run), before) == []
