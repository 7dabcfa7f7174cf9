"""The layout parses the names that it builds; stored runs keep their names."""

import pytest

from pipelines.runs import layout


def test_names_are_those_of_stored_runs() -> None:
    assert layout.checkpoint_name(480) == "checkpoint_000000000480"
    assert layout.evaluation_path(480) == "evaluations/000000000480.json"
    assert layout.evaluation_path(480, "5f5c") == "evaluations/000000000480_5f5c.json"
    assert layout.figure_path("samples", 480) == "figures/samples_000000000480.png"
    assert layout.chart_path("KL of all, by image", 480) == "charts/kl_of_all_by_image_000000000480.png"
    assert layout.directions_path(480, "json") == "directions/000000000480.json"


@pytest.mark.parametrize("nimg", [0, 480, 25_000_000, 999_999_999_999])
def test_what_is_built_is_parsed(nimg: int) -> None:
    name = layout.checkpoint_name(nimg)
    assert layout.checkpoint_nimg(name) == nimg
    assert layout.run_of(f"s3://b/run/{name}") == layout.run_of(f"s3://b/run/{layout.best_path(name)}") == "s3://b/run"
    chart = layout.chart_path("Moved", nimg).rpartition("/")[2]
    assert layout.chart_key(chart) == ("charts/moved", nimg)
    assert layout.is_own_evaluation(layout.evaluation_path(nimg))
    assert not layout.is_own_evaluation(layout.evaluation_path(nimg, "5f5c"))


@pytest.mark.parametrize("name", ["checkpoint_best", "checkpoint_12", "xcheckpoint_000000000480", "best", ""])
def test_other_names_are_no_checkpoint_and_no_chart(name: str) -> None:
    assert layout.checkpoint_nimg(name) is None and layout.chart_key(name) is None


def test_a_checkpoint_named_from_within_its_run_lies_in_the_working_folder() -> None:
    assert layout.run_of("checkpoint_000000000480") == "."
