"""A stray file, a run in place of a folder of runs, the reverse, and damaged files each give one sentence."""

import shutil
from pathlib import Path

import pytest

from pipelines import presets, storage
from pipelines.evaluation.loading import load
from pipelines.runs.compare import compare
from pipelines.runs.listing import runs
from pipelines.runs.run import Run
from tests.support import measured

EXPERIMENT = presets.load("debug_mnist32_style_alae")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two runs, beside which stray files lie."""
    for name in ("a", "b"):
        measured.save(tmp_path / name, 480, EXPERIMENT)
        (tmp_path / name / "experiment.json").write_text(EXPERIMENT.to_json())
    (tmp_path / "notes.txt").write_text("stray")
    (tmp_path / "a" / ".marker").write_text("stray")
    return tmp_path


def test_a_stray_file_in_a_folder_of_runs_is_passed_over(folder: Path) -> None:
    assert [run.name for run in runs(str(folder))] == ["a", "b"]


def test_a_path_under_a_file_does_not_exist(folder: Path) -> None:
    assert not storage.exists(f"{folder}/notes.txt/experiment.json")


def test_a_run_in_place_of_a_folder_of_runs_is_refused_with_the_folder(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"^{folder}/a is a run; name the folder that holds it, as in alae runs {folder}$"
    ):
        runs(f"{folder}/a")


def test_a_folder_of_runs_in_place_of_a_run_is_refused_with_one_of_them(folder: Path) -> None:
    words = rf"is a folder of 2 runs; name one of them, such as {folder}/a$"
    with pytest.raises(ValueError, match=words):
        Run(str(folder)).experiment()
    with pytest.raises(ValueError, match=words):
        compare(str(folder), f"{folder}/a")
    with pytest.raises(ValueError, match=words):
        load(str(folder))


@pytest.mark.parametrize("content", [b"", b'{"name": ', b"[]", b"\xff\xfe", b'{"name": "a"}'])
def test_a_damaged_experiment_is_named_with_a_way_out(folder: Path, content: bytes) -> None:
    (folder / "a" / "experiment.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"^\S+/a/experiment\.json does not read as an experiment: .*; restore the file"
    ) as caught:
        Run(f"{folder}/a").experiment()
    assert "\n" not in str(caught.value)


def test_a_run_whose_experiment_is_damaged_does_not_hide_the_others(folder: Path) -> None:
    shutil.rmtree(folder / "a" / "checkpoint_000000000480")
    (folder / "a" / "experiment.json").write_text("{")
    assert [run.state for run in runs(str(folder))] == ["unreadable", "finished"]
