"""Syntax trees of the repository's modules, for the rules about them."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

_parsed = cache(ast.parse)
"""A dozen rules read the same modules."""


def files(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Relative path and syntax tree of every module."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), _parsed(path.read_text())


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Dotted names of all that a module imports, wherever in it; `from a import b` gives a.b."""
    package = name.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute or name, and "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def plant(root: Path, contents: Iterable[tuple[str, str]]) -> None:
    for name, content in contents:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
