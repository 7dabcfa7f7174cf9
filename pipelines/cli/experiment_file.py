"""An experiment as a Python file with `experiment()`: the fields that are not the defaults, each below its meaning."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.cli.fields import docstrings, first_sentence
from pipelines.cli.parser import fill
from pipelines.experiment import Experiment

COLUMNS = 100
INDENT = "    "


def source(experiment: Experiment, introduction: str, notes: Mapping[str, str]) -> str:
    """The text of the file.

    `introduction` is its docstring. `notes` holds by dotted path the reason for a value; such a field is written even where
    it has the default.
    """
    lines = list(_call(experiment, "", notes, 1))
    imports = sorted({(type(part).__module__, type(part).__name__) for part in _written_parts(experiment, "", notes)})
    modules: dict[str, list[str]] = {}
    for module, name in imports:
        modules.setdefault("pipelines.experiment" if module.startswith("pipelines.experiment") else module, []).append(
            name
        )
    return "\n".join(
        [
            f'"""{introduction}\n"""\n',
            *(f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(modules.items())),
            "\n\ndef experiment() -> Experiment:",
            f'{INDENT}"""One run, complete; alae explain lists the other settings."""',
            f"{INDENT}return {lines[0].lstrip()}",
            *lines[1:-1],
            lines[-1].removesuffix(","),
            "",
        ]
    )


def _fields(part: Any, path: str, notes: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Path, name and value of the fields that are written."""
    for field in dataclasses.fields(part):
        value, place = getattr(part, field.name), f"{path}.{field.name}".lstrip(".")
        usual = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        noted = any(each == place or each.startswith(f"{place}.") for each in notes)
        if value != usual or noted:
            yield place, field.name, value


def _written_parts(part: Any, path: str, notes: Mapping[str, str]) -> Iterator[Any]:
    yield part
    for place, _, value in _fields(part, path, notes):
        if dataclasses.is_dataclass(value):
            yield from _written_parts(value, place, notes)


def _call(part: Any, path: str, notes: Mapping[str, str], depth: int) -> Iterator[str]:
    pad = INDENT * depth
    yield f"{pad}{type(part).__name__}("
    owner: type = type(part)
    texts = docstrings(owner)
    for place, name, value in _fields(part, path, notes):
        inner = pad + INDENT
        remark = " ".join(filter(None, [first_sentence(texts.get(name, "")), notes.get(place, "")]))
        if remark:
            yield fill(remark, COLUMNS, f"{inner}# ", f"{inner}# ")
        if dataclasses.is_dataclass(value):
            first, *rest = _call(value, place, notes, depth + 1)
            yield f"{inner}{name}={first.lstrip()}"
            yield from rest
        else:
            yield f"{inner}{name}={_literal(value)},"
    yield f"{pad}),"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + repr(value)[1:-1].replace('"', '\\"') + '"'
    return repr(value)
