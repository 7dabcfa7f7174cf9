"""Finds the `Config` class of an algorithm by its `kind`: a module of alae_core, an entry point of another package, or a module.

A kind that neither alae_core nor an entry point defines is the dotted path of a module. The module is imported only if it is
importable already and its source defines a `Config`: an experiment.json of unknown origin can name a module, not bring one.
"""

import ast
import dataclasses
import importlib.util
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from alae_core.algorithms import CONFIGS
from pipelines import user_code
from pipelines.experiment import schema

GROUP = "alae.algorithms"
FIELDS = ("kind", "resolution", "channels")

_outsiders: dict[str, type] = {}


def configs() -> dict[str, type]:
    """Config classes found so far, by kind: all of alae_core, and those of other packages that `find` has returned."""
    return {**_outsiders, **CONFIGS}


def kinds() -> list[str]:
    """Kinds that are known by name: those of alae_core, of entry points, and of modules found so far, sorted."""
    return sorted({*configs(), *(point.name for point in entry_points(group=GROUP))})


def find(kind: str) -> type | None:
    """Return the Config class of a kind, or None for an unknown kind.

    Raises ValueError with one sentence for a dotted path that cannot be imported, and for an entry point or a module that
    defines no algorithm.
    """
    if kind not in configs():
        points = tuple(entry_points(group=GROUP, name=kind))
        found = _of_entry_point(kind, points) if points else _of_module(kind)
        if found is None:
            return None
        _outsiders[kind] = _checked(kind, found, points[0].value if points else f"{kind}.Config")
    return configs()[kind]


def _of_entry_point(kind: str, points: tuple[EntryPoint, ...]) -> Any:
    if len(points) > 1:
        named = " and ".join(f"{point.value} of {point.dist.name if point.dist else 'unknown'}" for point in points)
        raise ValueError(f"algorithm.kind={kind} is named by several packages, {named}; uninstall all but one")
    module, _, attribute = points[0].value.partition(":")
    try:
        return getattr(user_code.import_module(module), attribute or "Config")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"algorithm.kind={kind}: the entry point {points[0].value}: {error}") from error


def _of_module(kind: str) -> Any:
    parts = kind.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    source = _source(kind)
    if source is None and _stands_in(Path.cwd(), parts):
        user_code.share(Path.cwd())
        source = _source(kind)
    named = len(parts) > 1
    if source is None and named:
        raise ValueError(
            f"algorithm.kind={kind}: no module of that name can be imported here; install its package, or add the folder "
            f"that holds {parts[0]} to PYTHONPATH; {schema.choices(kind, kinds())}"
        )
    try:
        if source is not None and "Config" in _defined(source):
            return user_code.import_module(kind).Config
    except ValueError as error:
        raise ValueError(f"algorithm.kind={kind}: {error}") from error
    if named:
        raise ValueError(f"algorithm.kind={kind}: {source} has no class Config; see docs/your_own.md")
    return None


def _stands_in(folder: Path, parts: list[str]) -> bool:
    place = folder.joinpath(*parts)
    return place.with_name(f"{parts[-1]}.py").is_file() or (place / "__init__.py").is_file()


def _source(module: str) -> Path | None:
    """File of a module that can be imported, or None; imports only the packages that contain the module."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    except Exception as error:
        raise ValueError(f"algorithm.kind={module}: a package that holds it fails: {error}") from error
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None


def _defined(source: Path) -> set[str]:
    """Names that the top level of a file defines, assigns or imports."""
    try:
        return {name for node in ast.parse(source.read_bytes()).body for name in _names(node)}
    except SyntaxError as error:
        raise ValueError(f"{source}, line {error.lineno}, is not Python: {error.msg}") from error


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _checked(kind: str, config: Any, place: str) -> type:
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise ValueError(
            f"algorithm.kind={kind}: {place} is not a dataclass; write @dataclass(frozen=True, kw_only=True) above it"
        )
    names = {field.name for field in dataclasses.fields(config)}
    if missing := [name for name in FIELDS if name not in names]:
        raise ValueError(f"algorithm.kind={kind}: {place} has no field {missing[0]}; it needs {', '.join(FIELDS)}")
    if not callable(getattr(config, "build", None)):
        raise ValueError(f"algorithm.kind={kind}: {place} has no method build, which makes the algorithm; add it")
    if (own := getattr(config, "kind", None)) != kind:
        raise ValueError(
            f'algorithm.kind={kind}: the kind of {place} is {own!r}; write kind: Literal["{kind}"] = "{kind}" in it'
        )
    try:
        TypeAdapter(config)
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"algorithm.kind={kind}: a field of {place} cannot be kept as JSON: {reason}") from error
    return config
