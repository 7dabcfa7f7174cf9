"""`alae runs` and `alae compare`: what the tables tell, and what does not compare."""

from pathlib import Path

import pytest
import ray

from pipelines import presets
from pipelines.cli import main
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import compare
from tests.support.commands import refused
from tests.support.measured import evaluate, save

KEY = "fd_pixels1k"


def begin(run: Path, *overrides: str) -> Experiment:
    """A run that has just begun."""
    settings = [f"evaluation.metrics={KEY}", *overrides]
    experiment = override(presets.load("debug_mnist32_style_alae"), settings)
    run.mkdir(parents=True)
    (run / "experiment.json").write_text(experiment.to_json())
    return experiment


def measured(run: Path, nimg: int, **values: float) -> str:
    """A run with one measured checkpoint."""
    folder = save(run, nimg, begin(run))
    evaluate(run, nimg, **values)
    return str(folder)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    """The cells of a table, which are apart by two spaces or more."""
    assert main.main(list(arguments)) == 0 and not ray.is_initialized()
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_the_runs_of_a_folder_are_listed_with_state_newest_and_best_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path / "a_new")
    finished = begin(tmp_path / "b_finished")
    for nimg, value in ((240, 3.0), (480, 4.0)):
        save(tmp_path / "b_finished", nimg, finished)
        evaluate(tmp_path / "b_finished", nimg, fd_pixels1k=value)
    save(tmp_path / "c_failed", 240, begin(tmp_path / "c_failed"))
    (tmp_path / "c_failed/failure.json").write_text("{}")
    evaluate(tmp_path / "c_failed", 120, fd_pixels1k=5.0, error=None)
    save(tmp_path / "d_going", 240, begin(tmp_path / "d_going"))
    (tmp_path / "e_damaged").mkdir()
    (tmp_path / "e_damaged/experiment.json").write_text("{}")
    (tmp_path / "no run").mkdir()
    place = f"{tmp_path}/b_finished/checkpoint_000000000240"
    assert printed(capsys, "runs", f"{tmp_path}/") == [
        ["run", "algorithm", "kimg", "state", "metric", "newest", "best", "best checkpoint"],
        ["a_new", "style_alae", "-", "new", "-", "-", "-", "-"],
        ["b_finished", "style_alae", "0.48", "finished", KEY, "4.00 ± 0.50", "3.00 ± 0.50", place],
        ["c_failed", "style_alae", "0.24", "failed", KEY, "5", "5", "at 0.12 kimg, not kept"],
        ["d_going", "style_alae", "0.24", "unfinished", "-", "-", "-", "-"],
        ["e_damaged", "-", "-", "unreadable", "-", "-", "-", "-"],
    ]


def test_runs_are_listed_by_any_metric_that_was_taken_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path / "run", 240, fd_pixels1k=3.0, is_classifier1k=2.0)
    evaluate(tmp_path / "run", 120, extra="_a", is_classifier1k=4.0)
    _, run = printed(capsys, "runs", str(tmp_path), "--metric", "is_classifier1k")
    assert run[4:7] == ["is_classifier1k", "2.00 ± 0.50", "4.00 ± 0.50"]


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path} holds no runs; name the folder" in refused(capsys, "runs", str(tmp_path))


def test_two_runs_are_compared_by_what_was_taken_of_both_with_the_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = measured(tmp_path / "a", 240, fd_pixels1k=3.0, is_classifier1k=2.0, l1_1k_recon=1.0, msssim1k=0.0)
    b = measured(tmp_path / "b", 480, fd_pixels1k=5.0, is_classifier1k=2.5, reciprocity1k=1.0, msssim1k=9.0)
    evaluate(tmp_path / "b", 480, extra="_a", l1_1k_recon=0.5, error=None)
    evaluate(tmp_path / "b", 240, fd_pixels1k=0.0)
    heads, table = [], printed(capsys, "compare", str(tmp_path / "a"), f"{tmp_path}/b/")
    heads, table = table[:2], table[4:]
    assert heads == [[f"a: {a} at 0.24 kimg"], [f"b: {b} at 0.48 kimg"]]
    assert table == [
        [KEY, "3.00 ± 0.50", "5.00 ± 0.50", "a is better: differ by 2, noise 1.41"],
        ["is_classifier1k", "2.00 ± 0.50", "2.50 ± 0.50", "no difference beyond the noise: differ by 0.5, noise 1.41"],
        ["l1_1k_recon", "1.00 ± 0.50", "0.5", "differ by 0.5; no error bar to judge that by"],
        ["msssim1k", "0.00 ± 0.50", "9.00 ± 0.50", "different: differ by 9, noise 1.41"],
    ]


def test_two_checkpoints_of_one_run_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = measured(tmp_path / "a", 240, is_classifier1k=2.0)
    evaluate(tmp_path / "a", 480, is_classifier1k=8.0)
    table = printed(capsys, "compare", first, str(tmp_path / "a"))
    assert table[-1][-1] == "b is better: differ by 6, noise 1.41"


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"dataset": "f" * 16}, "they were measured against different datasets"),
        ({"weights": "others"}, "their features come from different weights of pixels"),
        ({"resolution": 4}, "they are of images of 8 px and of 4 px"),
    ],
)
def test_values_that_were_taken_differently_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: dict[str, object], sentence: str
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    measured(a, 240, fd_pixels1k=3.0, reciprocity1k=1.0)
    measured(b, 240, reciprocity1k=1.0)
    evaluate(b, 240, extra="_a", fd_pixels1k=3.0, **other)  # type: ignore[arg-type]
    (refusal,) = [row for row in printed(capsys, "compare", str(a), str(b)) if row[:1] == [KEY]]
    assert refusal == [KEY, "-", "-", f"not compared: {sentence}"]
    (b / "evaluations/000000000240.json").unlink()
    assert refused(capsys, "compare", str(a), str(b)).endswith(f"do not compare by {KEY}: {sentence}\n")


def test_a_protocol_that_changed_under_its_name_is_not_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        measured(tmp_path / name, 240, fd_pixels1k=3.0)
    path = tmp_path / "b/evaluations/000000000240.json"
    path.write_text(path.read_text().replace('"mirrored": false', '"mirrored": true'))
    with pytest.raises(ValueError, match="they follow different protocols"):
        compare.compare(str(tmp_path / "a"), str(tmp_path / "b"))


def test_what_cannot_be_compared_at_all_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = measured(tmp_path / "a", 240, fd_pixels1k=3.0)
    measured(tmp_path / "b", 240, reciprocity1k=1.0)
    begin(tmp_path / "c")
    assert "is a folder of 3 runs; name one of them" in refused(capsys, "compare", a, str(tmp_path))
    assert "nothing was measured of" in refused(capsys, "compare", a, str(tmp_path / "c"))
    assert f"was measured by {KEY} and" in refused(capsys, "compare", a, str(tmp_path / "b"))
