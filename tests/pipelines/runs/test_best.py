"""The best checkpoint is found without reading every evaluation again, and never from anything but the records."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines import presets, storage
from pipelines.experiment.override import override
from pipelines.runs import layout
from pipelines.runs.best import keep_best, standing
from pipelines.runs.checkpoint import finished
from pipelines.runs.evaluations import read_evaluations
from pipelines.runs.listing import runs
from pipelines.runs.results import best, series
from tests.support.measured import evaluate, save

KEY = "fd_pixels1k"
KEEPING = override(
    presets.load("debug_mnist32_style_alae"), [f"evaluation.metrics={KEY}", "training.keep_checkpoints=1"]
)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of a run was read."""
    counted: Counter[str] = Counter()
    read = storage.read_bytes

    def counting(url: str) -> bytes:
        counted[url] += 1
        return read(url)

    for module in ("pipelines.storage", "pipelines.storage.files"):
        monkeypatch.setattr(f"{module}.read_bytes", counting)
    return counted


def of_evaluations(reads: Counter[str]) -> int:
    return sum(count for url, count in reads.items() if f"/{layout.EVALUATIONS}/" in url)


def next_one(run: Path, nimg: int, value: float, **other: Any) -> None:
    """A checkpoint, its evaluation, and what follows it."""
    folder = save(run, nimg, KEEPING)
    evaluate(run, nimg, fd_pixels1k=value, **other)
    keep_best(str(run), KEEPING, only=str(folder))


def expected(run: Path) -> tuple[int, int]:
    """The newest and the best, from all records."""
    found = series(read_evaluations(str(run), own=True), KEY)
    leader = best(found)
    assert leader is not None
    return found[-1].nimg, leader.nimg


def stands(run: Path, **how: bool) -> tuple[int, int]:
    found = standing(str(run), KEY, own=True, **how)
    assert found.newest is not None and found.best is not None
    return found.newest.nimg, found.best.nimg


def test_a_new_evaluation_is_judged_by_three_records_however_many_there_are(
    tmp_path: Path, reads: Counter[str]
) -> None:
    values = [5.0, 4.0, 6.0, 3.0, 7.0, 7.5, 8.0, 2.5, 9.0, 9.5, 3.5, 2.0]
    counts = []
    for place, value in enumerate(values):
        reads.clear()
        next_one(tmp_path, 1000 * (place + 1), value)
        counts.append(of_evaluations(reads))
    assert max(counts) <= 3
    assert stands(tmp_path) == expected(tmp_path) == (12000, 12000)
    assert [saved.nimg for saved in finished(f"{tmp_path}/best")] == [12000]


def test_the_runs_of_a_folder_are_listed_from_two_records_each(tmp_path: Path, reads: Counter[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / layout.EXPERIMENT).write_text(KEEPING.to_json())
    for nimg in range(1000, 9000, 1000):
        next_one(run, nimg, abs(nimg - 3000.0))
    reads.clear()
    (found,) = runs(str(tmp_path))
    assert of_evaluations(reads) == 2
    assert found.newest is not None and found.best is not None
    assert (found.newest.nimg, found.best.nimg) == (8000, 3000)
    evaluate(run, 8000, extra="_a", is_classifier1k=1.0)
    assert runs(str(tmp_path)) == [found] and runs(str(tmp_path), "is_classifier1k")[0].newest is not None


@pytest.mark.parametrize("seed", range(5))
def test_what_is_found_step_by_step_is_what_all_records_give(tmp_path: Path, seed: int) -> None:
    """Evaluations end in any order, levels change, and some lack the metric."""
    draw = random.Random(seed)
    order = sorted(range(1, 25), key=lambda step: step + draw.uniform(-2, 2))
    for step in order:
        value = draw.choice([1.0, 2.0, 3.0, 4.0]) + step // 8
        if draw.random() < 0.15:
            evaluate(tmp_path, 1000 * step, reciprocity1k=1.0)
        else:
            evaluate(tmp_path, 1000 * step, fd_pixels1k=value, resolution=4 * 2 ** (step // 9))
        keep_best(str(tmp_path), KEEPING, only="another")
        if series(read_evaluations(str(tmp_path), own=True), KEY):
            assert stands(tmp_path) == stands(tmp_path, afresh=True) == expected(tmp_path), step


def written(run: Path) -> dict[str, Any]:
    return json.loads((run / layout.LEADER).read_text())


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"metric": "fd_pixels1k"}',
        '{"metric": "reciprocity1k", "best": null, "newest": null, "compared": []}',
        '{"metric": "fd_pixels1k", "best": "evaluations/gone.json", "newest": null, "compared": ["evaluations/gone.json"]}',
        '{"metric": "fd_pixels1k", "best": null, "newest": "evaluations/gone.json", "compared": []}',
    ],
)
def test_a_note_that_is_damaged_or_of_other_records_is_made_anew(tmp_path: Path, damage: str) -> None:
    for nimg, value in ((1000, 1.0), (2000, 2.0), (3000, 3.0)):
        next_one(tmp_path, nimg, value)
    right = written(tmp_path)
    (tmp_path / layout.LEADER).write_text(damage)
    assert stands(tmp_path) == (3000, 1000)
    keep_best(str(tmp_path), KEEPING, only=f"{tmp_path}/checkpoint_000000003000")
    assert written(tmp_path) == right
    assert right["best"] == layout.evaluation_path(1000) and right["newest"] == layout.evaluation_path(3000)


def test_a_run_that_goes_on_reads_all_records_once_and_mends_a_wrong_note(tmp_path: Path) -> None:
    for nimg, value in ((1000, 1.0), (2000, 2.0), (3000, 3.0)):
        next_one(tmp_path, nimg, value)
    right = written(tmp_path)
    (tmp_path / layout.LEADER).write_text(json.dumps(right | {"best": right["newest"]}))
    keep_best(str(tmp_path), KEEPING)
    assert written(tmp_path) == right and [saved.nimg for saved in finished(f"{tmp_path}/best")] == [1000]


def test_of_two_evaluations_that_end_at_once_the_note_of_either_will_do(tmp_path: Path) -> None:
    for nimg, value in ((1000, 3.0), (2000, 2.0)):
        next_one(tmp_path, nimg, value)
    note = (tmp_path / layout.LEADER).read_text()
    next_one(tmp_path, 3000, 1.0)
    (tmp_path / layout.LEADER).write_text(note)  # by the task that had not seen the third
    next_one(tmp_path, 4000, 5.0)
    assert stands(tmp_path) == (4000, 3000) and len(written(tmp_path)["compared"]) == 4


def test_an_evaluation_that_is_not_whole_yet_is_read_when_it_is(tmp_path: Path) -> None:
    next_one(tmp_path, 1000, 3.0)
    evaluate(tmp_path, 2000, fd_pixels1k=1.0)
    path = tmp_path / layout.evaluation_path(2000)
    whole = path.read_text()
    path.write_text(whole[:40])
    next_one(tmp_path, 3000, 2.0)
    assert stands(tmp_path) == (3000, 3000)
    path.write_text(whole)
    next_one(tmp_path, 4000, 4.0)
    assert stands(tmp_path) == (4000, 2000)
