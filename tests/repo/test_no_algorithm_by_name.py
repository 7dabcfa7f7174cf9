"""No package but the core, and no room but the presets, knows an algorithm by its name or by a field of its own."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from alae_core import capabilities
from alae_core.algorithms import CONFIGS
from pipelines.experiment.config import _TINY_SIZES, AlgorithmConfig

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipelines", "tuning", "cluster")
PRESETS = "pipelines/presets/"
KINDS = CONFIGS.keys() - {"alae"}
"""The package, its command and its MLflow experiment are called alae too; imports of that module are found all the same."""


def own_fields(config: Any) -> Iterator[str]:
    """Names of the fields of a Config and of its parts."""
    hints = get_type_hints(config)
    for field in fields(config):
        yield field.name
        if is_dataclass(hints[field.name]):
            yield from own_fields(hints[field.name])


def shared() -> set[str]:
    """The fields that a capability names, that every Config has, and sizes that are shrunk by name."""
    protocols = [value for value in vars(capabilities).values() if getattr(value, "_is_protocol", False)]
    members = {name for each in (*protocols, AlgorithmConfig) for name in (*vars(each), *each.__annotations__)}
    return members | _TINY_SIZES.keys() | {"loss"}


PRIVATE = {name for config in CONFIGS.values() for name in own_fields(config) if "_" in name} - shared()
"""Names of one word may be anything."""


def violations(root: Path) -> Iterator[str]:
    for path in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name.startswith(PRESETS):
            continue
        tree = ast.parse(path.read_text())
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) not in documented:
                yield from (f"{name}: {found}" for found in named(node))


def named(node: ast.AST) -> Iterator[str]:
    """Everything in this node that one algorithm alone has."""
    if isinstance(node, ast.ImportFrom):
        modules = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (f"imports {found}" for found in modules if _is_algorithm(found))
    elif isinstance(node, ast.Import):
        yield from (f"imports {alias.name}" for alias in node.names if _is_algorithm(alias.name))
    elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
        yield f"reads .{node.attr}"
    elif isinstance(node, ast.keyword) and node.arg in PRIVATE:
        yield f"gives {node.arg}="
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        words = set(re.findall(r"\w+", node.value))
        yield from (f"says {word!r}" for word in sorted(words & (KINDS | PRIVATE)))
        if field := re.search(r"algorithm\.loss\.\w+", node.value):
            yield f"says {field[0]!r}"


def _is_algorithm(module: str) -> bool:
    return module.startswith("alae_core.algorithms.") and module != "alae_core.algorithms.CONFIGS"


def test_the_fields_that_are_looked_for_are_those_of_one_algorithm() -> None:
    assert {"margin_ratio", "recon_x_w", "r1_gamma", "cycle_weight", "stddev_group", "vgg_w"} <= PRIVATE
    assert not {"first_resolution", "mixing_probability", "base_channels", "warmup_kimg"} & PRIVATE
    assert {"munit", "style_alae"} <= KINDS


def test_no_algorithm_is_known_by_name() -> None:
    assert list(violations(ROOT)) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("pipelines/a.py", "from alae_core.algorithms import munit"),
        ("pipelines/a.py", "from alae_core.algorithms.alae import LossConfig"),
        ("cluster/a.py", "def f():\n    import alae_core.algorithms.stylegan"),
        ("tuning/a.py", "RATIO = 'algorithm.loss.margin_ratio'"),
        ("tuning/a.py", "MARGIN = 'algorithm.loss.margin'"),
        ("tuning/a.py", "if getattr(loss, 'margin_ratio'):\n    pass"),
        ("tuning/a.py", "least = config.loss.reconstruction_weight"),
        ("pipelines/runs/a.py", "if kind == 'nice_gan':\n    pass"),
        ("pipelines/runs/a.py", "error = f'only style_alae has one, not {kind}'"),
        ("pipelines/runs/a.py", "replace(loss, w_mean_decay=0.9)"),
    ],
)
def test_a_planted_name_is_found(tmp_path: Path, file: str, line: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line)
    assert list(violations(tmp_path))


def test_presets_docstrings_and_shared_fields_may_name_what_they_like(tmp_path: Path) -> None:
    for file, line in {
        "pipelines/presets/a.py": "from alae_core.algorithms import munit",
        "pipelines/a.py": '"""As munit, algorithm.loss.vgg_w."""\nfrom alae_core.algorithms import CONFIGS',
        "pipelines/b.py": "x = config.mixing_probability",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(line)
    assert list(violations(tmp_path)) == []
