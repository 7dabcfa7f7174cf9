"""A run that is killed at any point and restarted ends bit-identical to an uninterrupted one."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import presets
from pipelines.data.pack.pack import pack
from pipelines.runs import checkpoint
from pipelines.runs.evaluations import read_evaluations
from pipelines.runs.results import best, series
from tests.support.runs import Command, differing, evaluations, final_state, repeatable

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOTAL = presets.load("debug_mnist32_style_alae").schedule.total_nimg
FADE = (160, 320)
"""Range of images in which the second level fades in."""


@pytest.fixture(scope="module")
def undisturbed(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """An uninterrupted run."""
    storage = tmp_path_factory.mktemp("undisturbed")
    command = Command(storage=str(storage), name="run", dataset=str(tiny_dataset)).start()
    try:
        command.finish()
    finally:
        command.kill_driver()
    return command


def _best_kept(command: Command) -> list[int]:
    return [saved.nimg for saved in checkpoint.finished(f"{command.run.url}/best")]


def test_the_best_checkpoint_is_kept_beside_the_newest(undisturbed: Command) -> None:
    found = series(read_evaluations(undisturbed.run.url, own=True), "fd_pixels0.032k")
    leader = best(found)
    assert leader is not None and _best_kept(undisturbed) == [leader.nimg]
    keep = presets.load("debug_mnist32_style_alae").training.keep_checkpoints
    evaluated = [nimg for nimg, _ in evaluations(undisturbed.run)]
    assert [saved.nimg for saved in checkpoint.finished(undisturbed.run.url)] == evaluated[-keep:]


@pytest.mark.store
def test_a_run_on_s3_that_loses_workers_and_its_machine_goes_on_by_the_same_command_and_ends_bit_identical(
    undisturbed: Command, s3: str, tiny_dataset: Path, commands: Callable[..., Command], tmp_path: Path
) -> None:
    pack(str(tiny_dataset.parent / "images.npz"), f"{s3}/tiny", resolution=8, rows_per_group=48, rows_per_shard=96)
    place = {"storage": f"{s3}/runs", "name": "run", "dataset": f"{s3}/tiny", "cwd": tmp_path}
    spool = tmp_path / "runs" / "run"
    history = spool / "history.jsonl"
    draw = random.SystemRandom()  # different moments at every test run, one of them within the fade
    moments = sorted([draw.randint(*FADE), draw.randint(1, TOTAL - 60)])
    losses = draw.sample(["worker", "machine"], 2)
    print("lost", list(zip(losses, moments, strict=True)))
    run = commands(**place).start()
    for lost, moment in zip(losses, moments, strict=True):
        run.wait_for(moment, history)
        if lost == "worker":
            run.kill_worker()
        else:
            run.kill_driver()
            shutil.rmtree(spool)
            run = commands(**place).start()
    run.finish()
    assert differing(final_state(run.run), final_state(undisturbed.run)) == []
    assert repeatable(history) == repeatable(undisturbed.run.history)
    assert evaluations(run.run) == evaluations(undisturbed.run) != []
    assert _best_kept(run) == _best_kept(undisturbed)
    saved = checkpoint.finished(run.run.url)
    assert [ref.nimg for ref in saved] == [ref.nimg for ref in checkpoint.finished(undisturbed.run.url)]
    for ref in saved:
        assert checkpoint.read_state(ref.url)["nimg"] == checkpoint.load_averages(ref.url)[3] == ref.nimg


def test_a_finished_run_started_again_trains_nothing(undisturbed: Command, commands: Callable[..., Command]) -> None:
    before = final_state(undisturbed.run)
    output = commands(storage=undisturbed.storage, name="run", dataset=undisturbed.dataset).start().finish()
    assert "was already finished" in output
    assert differing(final_state(undisturbed.run), before) == []
