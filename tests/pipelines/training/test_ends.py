"""The end of a run: its surplus checkpoints, and what its error or signal says of the progress that is stored."""

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train.v2.api.exceptions import WorkerGroupError

from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.run import Run
from pipelines.training import trainer
from tests.support import measured

NO_EVALUATION = override(presets.load("debug_mnist32_style_alae"), ["evaluation.enabled=false"])


def ended(
    run: Path, monkeypatch: pytest.MonkeyPatch, experiment: Experiment, fails: BaseException | None = None
) -> None:
    """The last part of `train`, with a Ray that returns or raises at once."""

    def fit() -> None:
        if fails is not None:
            raise fails

    monkeypatch.setattr(trainer, "_trainer", lambda *_: SimpleNamespace(fit=fit))
    trainer._fit(experiment, Run(str(run)), lambda: nullcontext(), lambda text, waiting=None: None)


@pytest.mark.parametrize(("keep", "left"), [("2", [384, 480]), ("null", [128, 256, 384, 480])])
def test_checkpoints_that_ray_never_registered_are_deleted_beyond_those_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, left: list[int]
) -> None:
    experiment = override(NO_EVALUATION, [f"training.keep_checkpoints={keep}"])
    for nimg in (128, 256, 384, 480):
        measured.save(tmp_path, nimg, experiment)
    measured.save(tmp_path / "best", 128, experiment)
    (tmp_path / "checkpoint_000000000064").mkdir()  # an upload that never ended
    ended(tmp_path, monkeypatch, experiment)
    assert [saved.nimg for saved in checkpoint.finished(str(tmp_path))] == left
    assert [saved.nimg for saved in checkpoint.finished(f"{tmp_path}/best")] == [128]
    assert (tmp_path / "checkpoint_000000000064").exists()


@pytest.mark.parametrize(
    ("cause", "saved", "end"),
    [
        (RayActorError(), True, "(0.128 kimg are safe, and the same command goes on from there)"),
        (OSError(errno.EIO, "I/O error"), True, "(0.128 kimg are safe, and the same command goes on from there)"),
        (ValueError("damaged"), True, "damaged (0.128 kimg are safe in {run}/checkpoint_000000000128)"),
        (RayActorError(), False, "(no checkpoint was written yet; the same command starts again)"),
        (ValueError("damaged"), False, "damaged (no checkpoint was written yet)"),
    ],
)
def test_the_same_command_is_named_only_where_it_may_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception, saved: bool, end: str
) -> None:
    if saved:
        measured.save(tmp_path, 128, NO_EVALUATION)
    with pytest.raises(RuntimeError, match="training failed on rank 1: ") as caught:
        ended(tmp_path, monkeypatch, NO_EVALUATION, WorkerGroupError("failed", {1: cause}))
    assert str(caught.value).endswith(end.format(run=tmp_path))


def test_a_signal_says_what_is_stored_and_marks_the_run_in_mlflow_as_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses: list[Any] = []
    monkeypatch.setattr(
        trainer, "_track", lambda experiment, run, status, timeout_s: statuses.append((status, timeout_s))
    )
    measured.save(tmp_path, 128, NO_EVALUATION)
    with pytest.raises(
        KeyboardInterrupt, match=r"^stopped; 0\.128 kimg are safe, and the same command goes on from there$"
    ):
        ended(tmp_path, monkeypatch, NO_EVALUATION, KeyboardInterrupt())
    assert statuses == [("KILLED", trainer.STOPPED_SYNC_S)]
