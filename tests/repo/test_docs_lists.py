"""Lists in the documentation that mirror the code say what the code says."""

import re
from pathlib import Path

import pytest

from alae_core.metrics.protocol import METRICS
from alae_core.metrics.protocol_names import parse
from pipelines.evaluation.features import weights
from pipelines.experiment.override import BY_DIGEST, RESUMABLE
from pipelines.runs import layout

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUNS = (DOCS / "runs.md").read_text()
EVALUATION = (DOCS / "evaluation.md").read_text()


EVERY_PAGE = pytest.mark.parametrize("page", [DOCS / f"{name}.md" for name in ("runs", "evaluation", "stores")])


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def may_change(text: str) -> set[str]:
    """The fields of the list in docs/runs.md."""
    found = re.search(r"\*\*What may change\*\*:(.*?)\. Any other difference", text, re.DOTALL)
    assert found is not None
    return {name.removesuffix(".*") for name in ticked(found[1])}


def test_the_docs_list_of_what_a_resume_may_change_is_the_codes() -> None:
    assert may_change(RUNS) == {*RESUMABLE}
    (elsewhere,) = [line for line in RUNS.splitlines() if "known by their SHA-256" in line]
    assert set(ticked(elsewhere)) == {*BY_DIGEST, layout.FILES}


def test_a_field_that_is_left_out_of_the_list_is_noticed() -> None:
    assert may_change(RUNS.replace(", `data.damaged`", "")) == {*RESUMABLE} - {"data.damaged"}


@pytest.mark.parametrize(
    "name",
    [
        *(
            layout.EXPERIMENT,
            layout.DATASET,
            layout.FILES,
            layout.CHANGES,
            layout.FAILURE,
            layout.DAMAGE,
            layout.ALARMS,
            layout.LEADER,
        ),
        *(layout.HISTORY, layout.TRACKING, layout.TRACKING_LOCK, layout.STATE, layout.EMA, layout.MANIFEST),
        *(layout.checkpoint_name(7040), layout.best_path(layout.checkpoint_name(5120))),
        *(layout.evaluation_path(7040), layout.figure_path("samples", 7040), layout.chart_path("metrics", 7040)),
        layout.directions_path(7040, "safetensors"),
    ],
)
def test_the_docs_show_each_file_of_a_run(name: str) -> None:
    (folder,) = re.findall(r"## The run's folder\n(.*?)\n## ", RUNS, re.DOTALL)
    assert name in folder


def test_the_metrics_of_the_docs_are_names_that_the_code_reads_and_all_of_them() -> None:
    kinds = "|".join(METRICS)
    names = [name for name in ticked(EVALUATION) if re.fullmatch(rf"({kinds})(\d|_)[\w.]*", name) and "..." not in name]
    known = {parse(name).metric for name in names if not name.endswith("_")}
    assert known == set(METRICS)


def test_the_weights_of_the_docs_are_those_that_the_code_knows() -> None:
    (table,) = re.findall(r"## Weights\n(.*?)\n## ", EVALUATION, re.DOTALL)
    files = (weights.INCEPTION, weights.VGG16, weights.LPIPS_HEADS, weights.ALEXNET, weights.ALEXNET_HEADS)
    for file in files:
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{file.field}`")]
        assert all(word in row for known in file.known for word in known.split(" of ")[0].split())


@EVERY_PAGE
def test_the_tests_that_a_page_names_are_there(page: Path) -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"\btest_\w+\.py\b", page.read_text())) <= there


@EVERY_PAGE
def test_the_modules_that_a_page_names_are_there(page: Path) -> None:
    found = re.findall(r"\b(?:alae_core|pipelines|tuning|cluster|benchmarks|tests)/[\w/]+\.py\b", page.read_text())
    assert [name for name in found if not (ROOT / name).exists()] == []
