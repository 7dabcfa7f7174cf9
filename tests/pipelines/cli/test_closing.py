"""The closing table: which values are better, the change beyond the noise, the best checkpoint, and the pages to open."""

import json
from pathlib import Path

import pytest

from pipelines import presets
from pipelines.cli import closing
from pipelines.experiment.override import override
from pipelines.runs.evaluations import read_evaluations
from tests.support import measured

EXPERIMENT = override(
    presets.load("debug_mnist32_style_alae"), ["evaluation.metrics=fd_pixels1k,msssim1k,is_classifier1k"]
)
FIGURES = {
    name: f"figures/{name}_000000000480.png" for name in ("reals", "samples", "samples_truncated", "reconstructions")
}


def results(run: Path) -> list[str]:
    return closing.results(str(run), EXPERIMENT, read_evaluations(str(run), own=True))


def rows(run: Path) -> dict[str, list[str]]:
    """Cells of the table's lines by the first of them."""
    lines = [line.split("  ") for line in results(run) if "  " in line]
    return {line[0]: [cell.strip() for cell in line if cell.strip()][bool(line[0]) :] for line in lines}


def add_figures(run: Path, nimg: int, figures: dict[str, str]) -> None:
    path = run / "evaluations" / f"{nimg:012d}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"figures": figures}))


def test_a_row_has_the_better_side_first_last_and_best_with_errors_and_the_change_beyond_the_noise(
    tmp_path: Path,
) -> None:
    measured.evaluate(tmp_path, 128, fd_pixels1k=20, is_classifier1k=2.0, msssim1k=0.1)
    measured.evaluate(tmp_path, 256, fd_pixels1k=5, is_classifier1k=2.0, msssim1k=0.1)
    measured.evaluate(tmp_path, 480, fd_pixels1k=10, is_classifier1k=2.9, msssim1k=9.0)
    found = rows(tmp_path)
    assert found[""] == ["better", "first, 0.128 kimg", "last, 0.48 kimg", "best, 0.256 kimg", "since the first"]
    assert found["fd_pixels1k"] == ["lower", "20.00 ± 0.50", "10.00 ± 0.50", "5.00 ± 0.50", "better"]
    assert found["is_classifier1k"] == ["higher", "2.00 ± 0.50", "2.90 ± 0.50", "2.00 ± 0.50", "within the noise"]
    assert found["msssim1k"] == ["0.10 ± 0.50", "9.00 ± 0.50", "0.10 ± 0.50", "changed"]


@pytest.mark.parametrize(("last", "error", "change"), [(20.0, 0.5, "worse"), (20.0, None, "no error bar")])
def test_a_change_for_the_worse_and_one_that_cannot_be_judged_are_said(
    tmp_path: Path, last: float, error: float | None, change: str
) -> None:
    measured.evaluate(tmp_path, 128, fd_pixels1k=10)
    measured.evaluate(tmp_path, 480, error=error, fd_pixels1k=last)
    assert rows(tmp_path)["fd_pixels1k"][-1] == change


def test_only_evaluations_of_the_last_images_resolution_are_compared(tmp_path: Path) -> None:
    measured.evaluate(tmp_path, 128, resolution=4, fd_pixels1k=1)
    measured.evaluate(tmp_path, 256, fd_pixels1k=9)
    measured.evaluate(tmp_path, 480, fd_pixels1k=5)
    assert rows(tmp_path)[""] == ["better", "first, 0.256 kimg", "last, 0.48 kimg", "since the first"]


def test_the_best_checkpoint_is_named_where_it_lies_and_where_it_is_gone(tmp_path: Path) -> None:
    measured.evaluate(tmp_path, 256, fd_pixels1k=5)
    measured.evaluate(tmp_path, 480, fd_pixels1k=10)
    assert "best checkpoint by fd_pixels1k: at 0.256 kimg, not kept" in results(tmp_path)
    kept = measured.save(tmp_path / "best", 256, EXPERIMENT)
    assert f"best checkpoint by fd_pixels1k: {kept}" in results(tmp_path)


def test_the_pages_to_open_are_samples_and_reconstructions_and_the_chart_of_the_metrics(tmp_path: Path) -> None:
    measured.evaluate(tmp_path, 480, fd_pixels1k=10)
    add_figures(tmp_path, 480, FIGURES)
    (tmp_path / "charts").mkdir()
    for nimg in (256, 480):
        (tmp_path / "charts" / f"metrics_{nimg:012d}.png").touch()
    pages = [line.removeprefix(f"look at {tmp_path}/") for line in results(tmp_path) if line.startswith("look at ")]
    assert pages == [FIGURES["samples"], FIGURES["reconstructions"], "charts/metrics_000000000480.png"]


def test_the_pages_of_a_translator_are_its_translations(tmp_path: Path) -> None:
    measured.evaluate(tmp_path, 480, fd_pixels1k=10)
    names = (
        "reals_a",
        "reconstructions_a",
        "translations_to_a",
        "guided_to_a",
        "reconstructions_b",
        "translations_to_b",
    )
    add_figures(tmp_path, 480, {name: f"{name}.png" for name in names})
    assert results(tmp_path)[-2:] == [f"look at {tmp_path}/translations_to_{domain}.png" for domain in "ab"]


def test_many_values_fit_one_screen_and_those_left_out_are_counted(tmp_path: Path) -> None:
    many = {f"fd_pixels{number}k": 1.0 for number in range(1, 13)}
    for nimg in (128, 480):
        measured.evaluate(tmp_path, nimg, **many)
    lines = results(tmp_path)
    assert len(lines) <= 16 and max(map(len, lines[1:10])) <= 100
    assert "4 more values are in the run's folder evaluations/ and in MLflow" in lines


def test_values_without_a_protocol_stand_below_and_bookkeeping_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "evaluations").mkdir()
    metrics = {"eval/reconstruction_l1": 0.5, "eval/samples": 32, "eval/seconds": 1.5, "eval/resolution": 8}
    (tmp_path / "evaluations" / f"{480:012d}.json").write_text(json.dumps({"nimg": 480, "metrics": metrics}))
    assert list(rows(tmp_path)) == ["", "reconstruction_l1"]


def test_a_run_without_evaluations_has_no_table(tmp_path: Path) -> None:
    assert results(tmp_path) == []
