"""A run that is killed anywhere and started again ends bit-identical to one that was left alone."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import presets
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


def _moments(count: int) -> list[int]:
    """Random moments of a run, the first of them in the middle of the fade; new ones at every test run."""
    draw = random.SystemRandom()
    return [draw.randint(*FADE), *sorted(draw.randint(1, TOTAL - 60) for _ in range(count - 1))]


def _require_identical(run: Command, undisturbed: Command) -> None:
    assert differing(final_state(run.run), final_state(undisturbed.run)) == []
    assert repeatable(run.run.history) == repeatable(undisturbed.run.history)
    assert evaluations(run.run) == evaluations(undisturbed.run) != []


def test_a_run_whose_workers_are_killed_ends_bit_identical(
    undisturbed: Command, commands: Callable[..., Command], tmp_path: Path
) -> None:
    moments = sorted(_moments(2))
    print("workers killed at images", moments)
    run = commands(storage=str(tmp_path), name="run", dataset=undisturbed.dataset).start()
    for moment in moments:
        run.wait_for(moment, run.run.history)
        run.kill_worker()
    run.finish()
    _require_identical(run, undisturbed)


def test_a_run_whose_driver_is_killed_goes_on_by_the_same_command_and_ends_bit_identical(
    undisturbed: Command, commands: Callable[..., Command], tmp_path: Path
) -> None:
    moments = sorted(_moments(2))
    print("driver killed at images", moments)
    for moment in moments:
        run = commands(storage=str(tmp_path), name="run", dataset=undisturbed.dataset).start()
        run.wait_for(moment, run.run.history)
        run.kill_driver()
    run = commands(storage=str(tmp_path), name="run", dataset=undisturbed.dataset).start()
    run.finish()
    _require_identical(run, undisturbed)


def test_a_finished_run_started_again_trains_nothing(undisturbed: Command, commands: Callable[..., Command]) -> None:
    before = final_state(undisturbed.run)
    output = commands(storage=undisturbed.storage, name="run", dataset=undisturbed.dataset).start().finish()
    assert "was already finished" in output
    assert differing(final_state(undisturbed.run), before) == []
