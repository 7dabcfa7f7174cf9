"""Each test lies in its room: core without Ray, system for all that starts servers."""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.repo.trees import ROOT, files, imports, plant

CORE_MAY_IMPORT = {
    *("alae_core", "numpy", "torch", "pytest", "scipy", "PIL"),
    # What a metric is compared with.
    *("lpips", "mlxtend", "pytorch_msssim", "sklearn", "torch_fidelity"),
}
CORE_SUPPORT = {"tests.support.official", "tests.support.ranks", "tests.support.tensors"}
SERVERS = {"ray", "store"}
"""Marks of what starts Ray or a store."""

Rule = Callable[[Path], Iterator[str]]


def core_needs_torch_alone(root: Path) -> Iterator[str]:
    """tests/core, and what it takes from tests/support, import neither Ray nor what is built on it."""
    support = [(name, tree) for name, tree in files(root, "tests/support") if _module(name) in CORE_SUPPORT]
    for name, tree in [*files(root, "tests/core"), *support]:
        for imported in imports(name, tree):
            top = imported.split(".")[0]
            shared = imported.startswith("tests.core") or any(
                imported == module or imported.startswith(f"{module}.") for module in CORE_SUPPORT
            )
            if not (shared or top in CORE_MAY_IMPORT or top in sys.stdlib_module_names):
                yield f"{name} imports {imported}"


def servers_start_in_system_alone(root: Path) -> Iterator[str]:
    """A file marks tests with `ray` or `store` if, and only if, it lies in tests/system."""
    for name, tree in files(root, "tests"):
        if not name.split("/")[-1].startswith("test_"):
            continue
        marked = SERVERS & _marks(tree)
        if name.startswith("tests/system/"):
            if not marked:
                yield f"{name} starts neither Ray nor a store"
        elif marked:
            yield f"{name} marks tests with {', '.join(sorted(marked))}"


def _module(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".")


def _marks(tree: ast.Module) -> set[str]:
    """The names after `pytest.mark.`."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "mark"
    }


RULES: dict[Rule, list[tuple[str, str]]] = {
    core_needs_torch_alone: [
        ("tests/core/test_a.py", "from pipelines import presets"),
        ("tests/core/test_a.py", "def test_a():\n    import ray"),
        ("tests/core/test_a.py", "from tests.support import tiny"),
        ("tests/core/test_a.py", "from tests.support.tiny import brief"),
        ("tests/core/test_a.py", "from tests.contract.test_munit import SMALL"),
        ("tests/support/tensors.py", "import pyarrow"),
    ],
    servers_start_in_system_alone: [
        ("tests/pipelines/runs/test_a.py", "import pytest\n@pytest.mark.store\ndef test_a(): ..."),
        ("tests/core/test_a.py", "import pytest\npytestmark = [pytest.mark.slow, pytest.mark.ray]"),
        ("tests/system/test_a.py", "import pytest\npytestmark = pytest.mark.slow"),
    ],
}
EVERY_RULE = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@EVERY_RULE
def test_the_tests_keep_the_rule(rule: Rule) -> None:
    assert list(rule(ROOT)) == []


@EVERY_RULE
def test_the_rule_catches_a_planted_violation(rule: Rule, tmp_path: Path) -> None:
    for number, (name, content) in enumerate(RULES[rule]):
        plant(tmp_path / str(number), [(name, content)])
        assert list(rule(tmp_path / str(number))), content


@EVERY_RULE
def test_the_rule_accepts_what_is_allowed(rule: Rule, tmp_path: Path) -> None:
    plant(
        tmp_path,
        [
            ("tests/core/test_a.py", "import json\nfrom tests.support.tensors import flat\nimport torch, lpips"),
            ("tests/core/test_b.py", "from tests.core.test_a import x\nfrom tests.support import ranks"),
            ("tests/system/test_c.py", "import pytest\npytestmark = pytest.mark.ray"),
            ("tests/support/tiny.py", "import ray"),
        ],
    )
    assert list(rule(tmp_path)) == []
