"""Comparable values of a run, the best of them, and the copy of the best checkpoint that outlives the retention."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines import presets
from pipelines.evaluation.validation import evaluate_checkpoint
from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import best_metric
from pipelines.experiment.override import override
from pipelines.runs import checkpoint, layout
from pipelines.runs.best import keep_best, place_of
from pipelines.runs.evaluations import EvaluationError, list_evaluations, read_evaluation, read_evaluations
from pipelines.runs.results import best, readings, series
from tests.support import tiny
from tests.support.measured import evaluate, save

KEY = "fd_pixels1k"


def experiment(*overrides: str, metrics: str = f"{KEY},msssim1k") -> Experiment:
    return override(presets.load("debug_mnist32_style_alae"), [f"evaluation.metrics={metrics}", *overrides])


def values(run: Path, key: str = KEY) -> list[float]:
    return [reading.estimate.value for reading in series(read_evaluations(str(run)), key)]


def test_a_series_has_a_value_for_each_checkpoint_and_the_run_s_own_counts_first(tmp_path: Path) -> None:
    evaluate(tmp_path, 2000, fd_pixels1k=3.0)
    evaluate(tmp_path, 1000, fd_pixels1k=5.0)
    evaluate(tmp_path, 2000, extra="_a", fd_pixels1k=30.0)
    evaluate(tmp_path, 3000, extra="_a", fd_pixels1k=4.0)
    evaluate(tmp_path, 4000, reciprocity1k=1.0)
    assert values(tmp_path) == [5.0, 3.0, 4.0]
    assert values(tmp_path, "kd_pixels1k_pairs") == []


@pytest.mark.parametrize("other", [{"dataset": "f" * 16}, {"resolution": 4}, {"weights": "others"}])
def test_values_that_were_taken_otherwise_than_the_run_s_newest_are_no_part_of_its_series(
    tmp_path: Path, other: dict[str, object]
) -> None:
    evaluate(tmp_path, 1000, fd_pixels1k=1.0, **other)  # type: ignore[arg-type]
    evaluate(tmp_path, 2000, fd_pixels1k=3.0)
    evaluate(tmp_path, 3000, extra="_a", fd_pixels1k=2.0, **other)  # type: ignore[arg-type]
    assert values(tmp_path) == [3.0]


@pytest.mark.parametrize(("key", "expected"), [("fd_pixels1k", 1000), ("is_classifier1k", 3000), ("l1_1k_recon", 1000)])
def test_the_best_is_the_lowest_or_the_highest_as_the_metric_has_it(tmp_path: Path, key: str, expected: int) -> None:
    for nimg, value in ((1000, 1.0), (2000, 2.0), (3000, 3.0), (4000, 2.0)):
        evaluate(tmp_path, nimg, **{key: value})
    found = best(series(read_evaluations(str(tmp_path)), key))
    assert found is not None and found.nimg == expected
    assert best([]) is None


def test_of_equal_values_the_first_is_the_best_and_of_a_metric_without_a_better_side_any_first(tmp_path: Path) -> None:
    for nimg, value in ((1000, 2.0), (2000, 1.0), (3000, 1.0)):
        evaluate(tmp_path, nimg, fd_pixels1k=value, msssim1k=value)
    evaluations = read_evaluations(str(tmp_path))
    assert [best(series(evaluations, key)).nimg for key in (KEY, "msssim1k")] == [2000, 1000]  # type: ignore[union-attr]


def test_an_evaluation_that_does_not_say_how_it_was_taken_compares_with_nothing(tmp_path: Path) -> None:
    evaluate(tmp_path, 1000, fd_pixels1k=1.0)
    path = tmp_path / "evaluations/000000001000.json"
    record = json.loads(path.read_text())
    for lost in ("dataset", "resolution"):
        path.write_text(json.dumps({name: value for name, value in record.items() if name != lost}))
        evaluation = read_evaluation(str(tmp_path), "evaluations/000000001000.json")
        with pytest.raises(EvaluationError, match="at 1 kimg does not say how it was taken"):
            readings(evaluation)
        assert series([evaluation], KEY) == []


def test_the_runs_own_measurements_are_distinguished_from_added_ones(tmp_path: Path) -> None:
    evaluate(tmp_path, 1000, fd_pixels1k=1.0)
    evaluate(tmp_path, 1000, extra="_a", fd_pixels1k=1.0)
    (tmp_path / "evaluations/000000002000.json").write_text("{")
    assert list_evaluations(str(tmp_path), own=True) == [f"evaluations/00000000{n}000.json" for n in (1, 2)]
    assert [each.own for each in read_evaluations(str(tmp_path))] == [True, False]


def test_a_run_is_judged_by_its_first_metric_with_a_better_side_or_by_the_one_named() -> None:
    assert best_metric(experiment()) == KEY
    assert best_metric(experiment(metrics="msssim1k,pr_pixels1k3")) == "pr_pixels1k3_precision"
    assert best_metric(experiment("evaluation.samples=1000", metrics="null")) == KEY
    assert best_metric(experiment(metrics="msssim1k")) is None
    assert best_metric(experiment("evaluation.enabled=false")) is None
    named = "tracking.best_metric=pr_pixels1k3_recall"
    assert best_metric(experiment(named, metrics="fd_pixels1k,pr_pixels1k3")) == "pr_pixels1k3_recall"
    with pytest.raises(
        ValueError, match=r"^tracking.best_metric=pr_pixels1k3_recall is not a metric .* use fd_pixels1k$"
    ):
        best_metric(experiment(named))
    with pytest.raises(ValueError, match=r"^tracking\.best_metric=msssim1k is not a metric"):
        best_metric(experiment("tracking.best_metric=msssim1k"))


# --- keeping ------------------------------------------------------------------------------------------

KEEPING = experiment("training.keep_checkpoints=1")


def evaluated(run: Path, nimg: int, value: float) -> str:
    """A checkpoint that was saved and evaluated, as the evaluation's task leaves it; all older ones are deleted."""
    folder = save(run, nimg, KEEPING)
    evaluate(run, nimg, fd_pixels1k=value)
    keep_best(str(run), KEEPING, only=str(folder))
    for older in run.glob("checkpoint_*"):
        if older != folder:
            shutil.rmtree(older)
    return str(folder)


def kept(run: Path) -> list[int]:
    return [saved.nimg for saved in checkpoint.finished(f"{run}/best")]


def test_the_best_checkpoint_outlives_the_retention_until_a_better_one_comes(tmp_path: Path) -> None:
    first = evaluated(tmp_path, 1000, 3.0)
    assert kept(tmp_path) == [1000]
    evaluated(tmp_path, 2000, 4.0)
    assert kept(tmp_path) == [1000]
    copy = place_of(str(tmp_path), first)
    assert copy == f"{tmp_path}/best/checkpoint_000000001000" and layout.run_of(copy) == layout.run_of(first) == str(
        tmp_path
    )
    assert (Path(copy) / checkpoint.STATE).read_text() == "state.pt at 1000"
    third = evaluated(tmp_path, 3000, 2.0)
    assert kept(tmp_path) == [3000]
    assert place_of(str(tmp_path), first) is None and place_of(str(tmp_path), third) is not None
    assert [saved.nimg for saved in checkpoint.finished(str(tmp_path))] == [3000]


def test_where_all_checkpoints_are_kept_none_is_copied(tmp_path: Path) -> None:
    keeping_all = experiment("training.keep_checkpoints=null")
    save(tmp_path, 1000, keeping_all)
    evaluate(tmp_path, 1000, fd_pixels1k=3.0)
    keep_best(str(tmp_path), keeping_all)
    assert not (tmp_path / "best").exists()
    assert place_of(str(tmp_path), f"{tmp_path}/checkpoint_000000001000") == f"{tmp_path}/checkpoint_000000001000"


def test_a_run_that_begins_to_delete_checkpoints_keeps_the_best_of_those_it_had(tmp_path: Path) -> None:
    for nimg, value in ((1000, 3.0), (2000, 1.0), (3000, 2.0)):
        save(tmp_path, nimg, experiment())
        evaluate(tmp_path, nimg, fd_pixels1k=value)
    keep_best(str(tmp_path), KEEPING, only=f"{tmp_path}/checkpoint_000000003000")
    assert kept(tmp_path) == []
    keep_best(str(tmp_path), KEEPING)
    assert kept(tmp_path) == [2000]


def test_the_evaluation_of_a_checkpoint_keeps_it_also_if_it_was_killed_before_it_could(
    tmp_path: Path, tiny_dataset: Path
) -> None:
    settings = [f"data.path={tiny_dataset}", "evaluation.reconstructions=8", "training.keep_checkpoints=1"]
    keeping = experiment(*settings, metrics="fd_pixels0.05k")
    state = tiny.build(keeping)
    state.nimg = 480
    folder = tiny.checkpointed(tmp_path, state, keeping)
    metrics = evaluate_checkpoint(str(tmp_path), str(folder))
    assert kept(tmp_path) == [480]
    (found,) = series(read_evaluations(str(tmp_path)), "fd_pixels0.05k")
    assert found.estimate.value == metrics["eval/fd_pixels0.05k"]
    assert (found.resolution, found.weights, found.checkpoint) == (8, "pixels8", str(folder))
    shutil.rmtree(tmp_path / "best")
    assert evaluate_checkpoint(str(tmp_path), str(folder)) == metrics
    assert kept(tmp_path) == [480]


def test_a_damaged_checkpoint_is_not_kept_and_takes_no_other_s_place(tmp_path: Path) -> None:
    evaluated(tmp_path, 1000, 3.0)
    folder = save(tmp_path, 2000, KEEPING)
    (folder / checkpoint.STATE).write_bytes(b"damaged")
    evaluate(tmp_path, 2000, fd_pixels1k=1.0)
    with pytest.raises(RuntimeError, match="is not the file its manifest describes"):
        keep_best(str(tmp_path), KEEPING)
    assert kept(tmp_path) == [1000]
