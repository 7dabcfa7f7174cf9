"""The metric that a search compares its trials by: the one that is measured, in the direction that is better."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.tune.schedulers import ASHAScheduler

from pipelines import presets
from pipelines.cli import main
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.training.cadence import Due
from tuning import search
from tuning.search import SearchConfig

BOTH = "fd_pixels0.1k,pr_pixels0.1k3"
FOUND: list[Any] = []
"""Results of the search that does not run."""


class Tuner:
    """Takes what Ray Tune is given, and runs nothing."""

    made: list["Tuner"] = []  # noqa: RUF012

    def __init__(self, trainable: Any, **settings: Any) -> None:
        self.scheduler: ASHAScheduler = settings["tune_config"].scheduler
        Tuner.made.append(self)

    def fit(self) -> list[Any]:
        return FOUND


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Tuner.made.clear()
    FOUND.clear()
    monkeypatch.setattr("tuning.search.tune.Tuner", Tuner)
    monkeypatch.setattr(search, "connect", lambda: None)
    monkeypatch.setattr("pipelines.training.preflight.check_capacity", lambda *_, **__: None)
    monkeypatch.setattr(search, "_complete_tracking", lambda run, promoted_as: None)
    yield
    assert not ray.is_initialized()


@pytest.fixture
def base(tiny_dataset: Path, tmp_path: Path) -> Experiment:
    settings = [f"data.path={tiny_dataset}", f"training.storage={tmp_path}"]
    return override(presets.load("debug_mnist32_alae"), settings)


@pytest.mark.parametrize(
    ("settings", "asked", "metric", "mode"),
    [
        (["evaluation.metrics=fd_pixels0.1k"], None, "eval/fd_pixels0.1k", "min"),
        ([], None, "eval/fd_pixels0.032k", "min"),
        (["evaluation.metrics=pr_pixels0.1k3"], None, "eval/pr_pixels0.1k3_precision", "max"),
        (["evaluation.metrics=msssim0.1k,fd_pixels0.1k"], None, "eval/fd_pixels0.1k", "min"),
        ([f"evaluation.metrics={BOTH}"], "pr_pixels0.1k3_recall", "eval/pr_pixels0.1k3_recall", "max"),
        ([f"evaluation.metrics={BOTH}"], "eval/fd_pixels0.1k", "eval/fd_pixels0.1k", "min"),
        ([f"evaluation.metrics={BOTH}", "tracking.best_metric=pr_pixels0.1k3_recall"], None,
         "eval/pr_pixels0.1k3_recall", "max"),
        ([f"evaluation.metrics={BOTH}", "tracking.best_metric=pr_pixels0.1k3_recall"], "fd_pixels0.1k",
         "eval/fd_pixels0.1k", "min"),
    ],
)  # fmt: skip
def test_trials_are_compared_by_a_metric_that_is_measured_and_in_its_direction(
    base: Experiment, settings: list[str], asked: str | None, metric: str, mode: str
) -> None:
    search.search(override(base, settings), config=SearchConfig(metric=asked))
    (tuner,) = Tuner.made
    assert (tuner.scheduler.metric, tuner.scheduler._mode) == (metric, mode)


@pytest.mark.parametrize(
    ("metrics", "asked", "sentence"),
    [
        (BOTH, "foo", "--metric=foo is not a metric of evaluation.metrics for which lower or higher is better; use "
         "fd_pixels0.1k or pr_pixels0.1k3_precision or pr_pixels0.1k3_recall"),
        (BOTH, "eval/fd_pixels5k", "--metric=eval/fd_pixels5k is not a metric of evaluation.metrics"),
        ("fd_pixels0.1k,msssim0.1k", "msssim0.1k", "--metric=msssim0.1k is not a metric of evaluation.metrics for which lower "
         "or higher is better; use fd_pixels0.1k"),
        ("msssim0.1k", None, "evaluation.metrics=msssim0.1k measure nothing of which one side is better, so that a search "
         "has nothing to compare; add a distance, such as fd_pixels5k"),
    ],
)  # fmt: skip
def test_a_metric_that_cannot_decide_is_refused_with_those_that_can_before_anything_starts(
    tmp_path: Path, metrics: str, asked: str | None, sentence: str
) -> None:
    nowhere = override(presets.load("debug_mnist32_alae"), [f"data.path={tmp_path}/none"])
    with pytest.raises(ValueError) as caught:
        search.search(override(nowhere, [f"evaluation.metrics={metrics}"]), config=SearchConfig(metric=asked))
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)
    assert Tuner.made == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "best_first"), [("pr_pixels0.1k3_recall", ["b", "a", "c"]), ("fd_pixels0.1k", ["a", "b", "c"])]
)
def test_trials_are_ranked_by_the_direction_of_the_metric(base: Experiment, asked: str, best_first: list[str]) -> None:
    for name, values in (("a", {f"eval/{asked}": 0.25}), ("b", {f"eval/{asked}": 0.75}), ("c", {})):
        FOUND.append(SimpleNamespace(metrics={"trial_id": name, "nimg": 500, **values}, config={}, error=None))
    trials = search.search(override(base, [f"evaluation.metrics={BOTH}"]), config=SearchConfig(metric=asked))
    assert [trial.name for trial in trials] == best_first


def test_the_first_rung_is_the_first_evaluation_of_the_worker_at_a_tick_that_rounds(base: Experiment) -> None:
    ticking = override(base, ["training.tick_kimg=0.0335", "training.checkpoint_ticks=2"])
    search.search(ticking)
    (tuner,) = Tuner.made
    first = next(nimg for nimg in range(1, 200) if Due.between(ticking, nimg - 1, nimg).validate)
    assert first == ticking.evaluation_nimg == 2 * ticking.training.tick_nimg == 68
    assert min(milestone for bracket in tuner.scheduler._brackets for milestone, _ in bracket._rungs) == first


def test_the_help_of_the_command_says_which_metric_decides(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["tune", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "a distance is minimised, a score maximised; default: tracking.best_metric" in said
