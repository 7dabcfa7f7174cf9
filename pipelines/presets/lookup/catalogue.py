"""The presets that have a name: the functions of the families' modules, and entry points of other packages.

Their names and docstrings are read from the source: a list of presets imports neither torch nor anybody's code.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from pipelines.presets.lookup.about import About, read

GROUP = "alae.presets"
FAMILIES = Path(__file__).parents[1]


def names() -> list[str]:
    """Every preset that has a name, sorted, without its other forms; imports none of them."""
    return sorted({*ours(), *entries()})


def about(name: str) -> About:
    """What the preset of this name says of itself, without importing it. Raises ValueError if there is no such preset."""
    if name in ours():
        return ours()[name]
    if name not in entries():
        raise ValueError(unknown(name, names()))
    module, _, function = entries()[name].value.partition(":")
    return read(name, module, dict(_functions(_source(module))).get(function, ""))


@cache
def ours() -> dict[str, About]:
    """Each public function of the modules beside this folder, by name."""
    found = ((path.stem, _functions(path)) for path in sorted(FAMILIES.glob("*.py")) if path.stem != "__init__")
    return {name: read(name, family, docstring) for family, functions in found for name, docstring in functions}


def entries() -> dict[str, EntryPoint]:
    """Entry points of other packages, by name; a name of ours means ours."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in ours()}


def unknown(name: str, known: Iterable[str]) -> str:
    """A sentence for a name that is none, with all known ones, nearest first."""
    from pipelines.experiment import schema  # imports torch

    return (
        f"{name} is not a preset; {schema.choices(name, known)}; or give a file: a .py with a function experiment(), or an "
        "experiment.json, which may be a URL"
    )


def _functions(path: Path | None) -> Iterator[tuple[str, str]]:
    """Public functions at the top level of a file, with their docstrings."""
    for node in ast.parse(path.read_text()).body if path else ():
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, ast.get_docstring(node, clean=False) or ""


def _source(module: str) -> Path | None:
    """The file of a module of another package, which is not imported, though the packages that hold it are."""
    try:
        found = find_spec(module)
    except Exception:  # the table of presets must not fail where somebody's package does; `load` will say why
        return None
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None
