"""The names of a run's files and folders are spelled in one module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.runs import layout
from tests.repo.trees import files

ROOT = Path(__file__).parents[2]
PACKAGES = ("alae_core", "pipelines", "tuning", "cluster")
OWNER = "pipelines/runs/layout.py"
FOLDERS = (layout.BEST, layout.EVALUATIONS, layout.FIGURES, layout.CHARTS, layout.DIRECTIONS)
NAMES = (
    *(layout.EXPERIMENT, layout.DATASET, layout.FILES, layout.FAILURE, layout.DAMAGE, layout.ALARMS, layout.LEADER),
    *(layout.HISTORY, layout.TRACKING, layout.TRACKING_LOCK, layout.STATE, layout.EMA, layout.MANIFEST),
)
SPELLED = re.compile(rf"({'|'.join(map(re.escape, NAMES))})|(^|/)({'|'.join(FOLDERS)})/|(^|/)checkpoint_($|\d)")
# The same words for other things: a dataset's manifest, and the file in which StyleGAN2-ADA keeps labels.
OTHERS = {
    ("pipelines/data/format/pyramid.py", layout.MANIFEST),
    ("pipelines/data/format/shards.py", layout.MANIFEST),
    ("pipelines/sources/metadata.py", layout.DATASET),
    ("pipelines/presets/lookup/catalogue.py", layout.EXPERIMENT),
}


def spelled(root: Path) -> Iterator[str]:
    """The places at which a module other than the owner spells a name, or builds one from the images seen."""
    for name, tree in files(root, *PACKAGES):
        if name != OWNER:
            yield from _spelled(name, tree)


def _spelled(name: str, tree: ast.Module) -> Iterator[str]:
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    folders = {id(part) for node in ast.walk(tree) for part in _joined(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in prose:
            continue
        allowed = any(name == where and word in node.value for where, word in OTHERS)
        whole = id(node) in folders and node.value in FOLDERS
        if (SPELLED.search(node.value) and not allowed) or whole or node.value == "012d":
            yield f"{name}:{node.lineno} spells {node.value!r}"


def _joined(node: ast.AST) -> list[ast.expr]:
    """Operands of a call of `join` or of the operator `/`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [node.left, node.right]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "joinpath"):
        return node.args
    return []


def test_no_other_module_spells_a_name_of_a_run() -> None:
    assert list(spelled(ROOT)) == []


@pytest.mark.parametrize(
    "planted",
    [
        'EXPERIMENT = "experiment.json"',
        'path = f"{run.url}/failure.json"',
        'path = f"{url}/evaluations/{name}"',
        'names = storage.join(url, "evaluations")',
        'folder = spool / "charts"',
        'path = f"{run_url}/best/{name}"',
        'name = f"checkpoint_{nimg}"',
        'name = f"{slug}_{nimg:012d}.png"',
        'raise ValueError("it has no manifest.json")',
    ],
)
def test_a_planted_name_is_found(planted: str, tmp_path: Path) -> None:
    path = tmp_path / "pipelines" / "training" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text(planted)
    assert len(list(spelled(tmp_path))) == 1
    (tmp_path / OWNER).parent.mkdir()
    path.rename(tmp_path / OWNER)
    assert list(spelled(tmp_path)) == []


def test_words_in_prose_and_of_other_things_are_free(tmp_path: Path) -> None:
    path = tmp_path / "pipelines" / "a.py"
    path.parent.mkdir()
    path.write_text('"""Reads experiment.json."""\nx = getattr(a, "charts", {})\nfield = "training.checkpoint_ticks"\n')
    assert list(spelled(tmp_path)) == []
