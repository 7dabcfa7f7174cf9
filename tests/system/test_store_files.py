"""A run whose files lie on an S3 store: what is refused before it starts, its claim, checkpoints and history."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.run import Run
from tests.pipelines.runs.test_checkpoint import EXPERIMENT, require_same, restored, saved
from tests.pipelines.runs.test_run import BASE, PACKED, TICK_LINE, checkpoint_at
from tests.pipelines.training.test_preflight import refusal
from tests.support import tiny
from tests.support.store import both_stores, free_port, set_s3_environment

pytestmark = pytest.mark.store


@pytest.fixture
def fitting(tiny_dataset: Path, tmp_path: Path) -> Experiment:
    """An experiment that fits its dataset and its storage."""
    return override(
        presets.load("debug_mnist32_style_alae"), [f"data.path={tiny_dataset}", f"training.storage={tmp_path / 'runs'}"]
    )


@pytest.mark.parametrize("field", ["data.path", "training.storage"])
def test_a_bucket_that_is_not_there_is_named(fitting: Experiment, s3: str, field: str) -> None:
    assert "bucket 'no-such-bucket' does not exist" in refusal(fitting, f"{field}=s3://no-such-bucket/a")


@pytest.mark.parametrize("field", ["data.path", "training.storage"])
def test_a_store_that_does_not_answer_is_named(
    fitting: Experiment, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    port = free_port()
    set_s3_environment(monkeypatch, f"http://127.0.0.1:{port}")
    message = refusal(fitting, f"{field}=s3://bucket/a")
    assert f"http://127.0.0.1:{port} does not answer; check AWS_ENDPOINT_URL" in message


@both_stores
def test_a_checkpoint_on_s3_comes_back_bit_for_bit(s3: str) -> None:
    trained = tiny.build(EXPERIMENT)
    tiny.train(trained, EXPERIMENT, until=3 * tiny.BATCH)
    url = saved(trained, f"{s3}/runs/a")
    require_same(restored(url), trained)
    assert checkpoint.latest(f"{s3}/runs/a") == checkpoint.CheckpointRef(url, trained.nimg)


def test_a_run_on_s3_is_claimed_finished_and_refused_as_a_local_one(s3: str) -> None:
    run = Run(f"{s3}/runs/a")
    run.claim(BASE, PACKED)
    assert run.experiment() == replace(BASE, name="a") and run.finished_at(BASE) is None
    with pytest.raises(ValueError, match="seed: 0 -> 1"):
        run.claim(replace(BASE, seed=1), PACKED)
    checkpoint_at(run, BASE.schedule.total_nimg)
    assert run.finished_at(BASE) is not None


def test_a_run_on_s3_brings_its_history_along_to_a_machine_that_lacks_it(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(f"{s3}/runs/a")
    for machine in ("first", "second"):
        (tmp_path / machine).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    run.fetch_history()
    assert not run.history.exists()
    run.history.write_text(TICK_LINE)
    run.keep_history(run.history)
    monkeypatch.chdir(tmp_path / "second")
    run.fetch_history()
    assert run.history.read_text() == TICK_LINE
    run.history.write_text(2 * TICK_LINE)
    run.fetch_history()
    assert run.history.read_text() == 2 * TICK_LINE
