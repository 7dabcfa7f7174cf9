"""The metric that ranks checkpoints, its spellings, and the comparison of two values."""

from pathlib import Path

import pytest

from alae_core.metrics.protocol_names import parse
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import Deciding, best_metric, deciding, is_better
from pipelines.experiment.override import override
from pipelines.runs.layout import EXPERIMENT
from pipelines.runs.listing import runs
from tests.support.measured import evaluate, save


def experiment(metrics: str, *settings: str) -> Experiment:
    return override(presets.load("debug_mnist32_style_alae"), [f"evaluation.metrics={metrics}", *settings])


@pytest.mark.parametrize("prefix", ["", "eval/"])
def test_the_metric_that_decides_is_spelled_with_or_without_eval(prefix: str) -> None:
    both = experiment("fd_pixels1k,pr_pixels1k3", f"tracking.best_metric={prefix}pr_pixels1k3_recall")
    assert deciding(both) == Deciding("pr_pixels1k3_recall", higher=True)
    assert best_metric(both) == "pr_pixels1k3_recall"
    assert deciding(both, f"{prefix}fd_pixels1k") == Deciding("fd_pixels1k", higher=False)


def test_a_name_of_another_code_decides_by_the_protocol_it_stands_for() -> None:
    compat = experiment("fid50k_alae_compat", "tracking.best_metric=fid50k_alae_compat")
    assert best_metric(compat) == "fid50k_mixed0.9_floored_mirrored"


@pytest.mark.parametrize(
    ("name", "better"), [("fd_pixels1k", False), ("pr_pixels1k3", True), ("is50k", True), ("msssim1k", None)]
)
def test_of_two_values_the_better_is_that_of_the_metric_s_direction(name: str, better: bool | None) -> None:
    protocol = parse(name)
    assert is_better(protocol, 2.0, 1.0) is (better is True)
    assert is_better(protocol, 1.0, 2.0) is (better is False)
    assert not is_better(protocol, 1.0, 1.0)


def test_runs_are_listed_by_a_metric_that_is_spelled_with_eval(tmp_path: Path) -> None:
    run = tmp_path / "faces"
    save(run, 1000, experiment("fd_pixels1k"))
    (run / EXPERIMENT).write_text(experiment("fd_pixels1k").to_json())
    evaluate(run, 1000, fd_pixels1k=3.0, reciprocity1k=1.0)
    (found,) = runs(str(tmp_path), "eval/reciprocity1k")
    assert found.newest is not None and found.newest.key == "reciprocity1k"
