"""Presets by name: the public functions of the modules in pipelines/presets, and entry points of other packages.

Names and docstrings are read from the source files, so listing presets imports neither torch nor code of other packages.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from pipelines.presets.lookup.about import About, read

GROUP = "alae.presets"
FAMILIES = Path(__file__).parents[1]


def names() -> list[str]:
    """Return the sorted names of all presets, without their `debug_` and `_compat` forms; imports none of them."""
    return sorted({*ours(), *entries()})


def about(name: str) -> About:
    """Return the description of a preset without importing it. Raises ValueError for an unknown name."""
    if name in ours():
        return ours()[name]
    if name not in entries():
        raise ValueError(unknown(name, names()))
    module, _, function = entries()[name].value.partition(":")
    return read(name, module, dict(_functions(_source(module))).get(function, ""))


@cache
def ours() -> dict[str, About]:
    """Return the presets of this project by name: the public functions of the modules in pipelines/presets."""
    found = ((path.stem, _functions(path)) for path in sorted(FAMILIES.glob("*.py")) if path.stem != "__init__")
    return {name: read(name, family, docstring) for family, functions in found for name, docstring in functions}


def entries() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by name; presets of this project take precedence."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in ours()}


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the error sentence for an unknown preset, with the most similar known name if one is similar."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"{name} is not a preset; {f'did you mean {near[0]}? ' if near else ''}alae presets lists them all"


def _functions(path: Path | None) -> Iterator[tuple[str, str]]:
    """Names and docstrings of the public functions at the top level of a file."""
    for node in ast.parse(path.read_text()).body if path else ():
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node, clean=False) or ""


def _source(module: str) -> Path | None:
    """Source file of a module of another package, or None; imports only the packages that contain the module."""
    try:
        found = find_spec(module)
    except Exception:  # a broken package must not break the table of presets; `load` reports the reason
        return None
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None
