"""A change declared in mid-run holds from the newest checkpoint on, and is refused where it would not be exact."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import presets
from pipelines.cli.main import main
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import checkpoint, layout
from pipelines.runs.compare import compare
from pipelines.runs.listing import runs, runs_table
from pipelines.runs.run import Run
from tests.support import tiny
from tests.support.measured import evaluate, save

BASE = override(presets.load("debug_mnist32_style_alae"), ["name=run"])
"""Level 0 ends at 160 images; level 1 fades to 320 and ends at 480; batches of 8."""
PACKED: Any = (SimpleNamespace(identity={"train": "abc"}),)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(str(tmp_path / "run"))
    run.claim(BASE, PACKED)
    return run


def saved(run: Run, nimg: int, experiment: Experiment = BASE) -> Path:
    """A checkpoint with the changes in force when it was saved."""
    folder = save(Path(run.url), nimg, experiment)
    manifest = json.loads((folder / layout.MANIFEST).read_text())
    manifest["changes"] = [change.record() for change in run.changes() if change.nimg < nimg]
    (folder / layout.MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_a_finished_run_is_prolonged_with_another_batch_and_rate(run: Run) -> None:
    saved(run, 480)
    assert run.finished_at(run.changed(BASE)) is not None
    change = run.change(["schedule.stable_kimg=0.16,0.32", "schedule.batch_size=8,16", "schedule.lr=0.0005"])
    assert change.nimg == 480 and "schedule.batch_size: 8 -> 8,16" in change.differences
    going_on = run.changed(BASE)
    assert (going_on.schedule.total_nimg, going_on.schedule.level_at(480).batch_size) == (640, 16)
    assert run.finished_at(going_on) is None and run.experiment() == BASE


def test_changes_apply_in_order_and_the_last_one_wins(run: Run) -> None:
    saved(run, 384)
    run.change(["schedule.lr=0.1"])
    run.change(["schedule.lr=0.2", "training.ema_half_life_kimg=3"])
    saved(run, 448, run.changed(BASE))
    change = run.change(["schedule.lr=0.3"])
    assert change.differences == ("schedule.lr: 0.2 -> 0.3",)
    going_on = run.changed(BASE)
    assert (going_on.schedule.lr, going_on.training.ema_half_life_kimg) == ((0.3,), 3.0)


def test_the_original_and_the_changed_settings_both_name_the_run_and_others_do_not(run: Run) -> None:
    saved(run, 384)
    run.change(["schedule.lr=0.1"])
    for settings in ([], ["schedule.lr=0.1"]):
        run.claim(override(BASE, settings), PACKED)
    with pytest.raises(ValueError, match=r"started with other settings: schedule\.lr: .* -> 0\.2\. Repeat"):
        run.claim(override(BASE, ["schedule.lr=0.2"]), PACKED)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["seed=3"], "seed: 0 -> 3 cannot change in mid-run; .* training.init_from="),
        (["algorithm.latent=16"], "algorithm.latent: .* cannot change in mid-run"),
        (["algorithm.loss.r1_every=2"], "algorithm.loss.r1_every: .* cannot change in mid-run"),
        (["data.path=elsewhere"], "data.path: .* cannot change in mid-run"),
        (["training.optimizer.beta1=0.5"], "training.optimizer.beta1: .* cannot change in mid-run"),
        (["schedule.resolutions=8"], "schedule.resolutions: .* cannot change in mid-run"),
        (["schedule.batch_size=8,24"], "batch_size=24 does not divide the 224 images of level 1"),
        (["schedule.stable_kimg=0.32"], "the levels before 0.384 kimg would begin elsewhere"),
        (["schedule.stable_kimg=0.16,0.064"], r"the run would end at 0\.384 kimg, and it has reached 0\.384"),
        (["schedule.batch_size=8"], "schedule.batch_size=8 changes nothing"),
        (["schedule.lr=-1"], "schedule.lr"),
    ],
)
def test_what_would_not_be_exact_is_refused_and_leaves_the_run_as_it_is(
    run: Run, settings: list[str], sentence: str
) -> None:
    saved(run, 384)
    with pytest.raises(ValueError, match=sentence):
        run.change(settings)
    assert run.changes() == () and not Path(run.url, layout.CHANGES).exists()


def test_a_run_without_a_checkpoint_is_started_again_rather_than_changed(run: Run) -> None:
    with pytest.raises(ValueError, match="has no finished checkpoint; start it again with alae train and the new"):
        run.change(["schedule.lr=0.1"])


def test_a_change_whose_checkpoint_is_gone_or_that_training_went_past_is_refused(run: Run) -> None:
    folder = saved(run, 384)
    run.change(["schedule.lr=0.1"])
    late = save(Path(run.url), 448, BASE)  # by a command that did not know of the change
    with pytest.raises(
        ValueError, match=r"was trained to 0\.448 kimg without a change that changes\.json dates before"
    ):
        run.changed(BASE)
    for gone in (late, folder):
        (gone / layout.MANIFEST).unlink()
    with pytest.raises(ValueError, match=r"changes from 0\.384 kimg on .*, and its newest checkpoint is at 0 kimg"):
        run.changed(BASE)


def test_a_loss_weight_changes_if_the_checkpoint_still_loads(tmp_path: Path) -> None:
    base = tiny.brief(BASE)
    run = Run(str(tmp_path / "run"))
    run.claim(base, PACKED)
    state = tiny.build(base)
    tiny.train(state, base, until=3 * tiny.BATCH)
    checkpoint.write(state, base, tiny.checkpointed(tmp_path / "run", state, base), None)
    run.change(["algorithm.loss.latent_reconstruction_weight=0.5"])
    changed: Any = run.changed(base).algorithm
    assert changed == dataclasses.replace(
        changed, loss=dataclasses.replace(changed.loss, latent_reconstruction_weight=0.5)
    )


def test_the_tables_and_the_command_show_changes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    saved(run, 384)
    evaluate(Path(run.url), 384, fd_pixels1k=3.0)
    assert main(["change", run.url]) == 0
    assert main(["change", run.url, "schedule.lr=0.1"]) == 0
    assert main(["change", run.url]) == 0
    printed = capsys.readouterr().out
    assert "has no declared change" in printed and "\n  schedule.lr: " in printed
    saved(run, 448, run.changed(BASE))
    evaluate(Path(run.url), 448, fd_pixels1k=2.0)
    assert "run: changed from 0.384 kimg on schedule.lr: " in runs_table(runs(str(Path(run.url).parent)))
    first = f"{run.url}/{layout.checkpoint_name(384)}"
    text = compare(run.url, first)
    assert "a was changed from 0.384 kimg on schedule.lr" in text and "b was changed" not in text
