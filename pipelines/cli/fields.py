"""Every setting of an experiment with its docstring, type and default, read from the dataclasses themselves."""

import ast
import dataclasses
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from alae_core.algorithms import CONFIGS
from pipelines.experiment import Experiment, schema


@dataclass(frozen=True)
class Field:
    """One setting or group of settings."""

    path: str
    text: str
    """Its docstring on one line; empty if it has none."""
    hint: Any
    default: Any
    """MISSING where every experiment must give a value."""
    kind: str | None = None
    """The algorithm it belongs to, below `algorithm`."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.split(".")[-1]

    @property
    def is_group(self) -> bool:
        """Whether it holds settings rather than a value."""
        return self.path == "algorithm" or _group(self.hint) is not None


def fields(algorithms: dict[str, type] = CONFIGS) -> list[Field]:
    """All settings and groups in the order of the experiment's JSON; those of `algorithm` for each kind in turn."""
    return list(_walk(Experiment, "", MISSING, None, algorithms))


@cache
def docstrings(owner: type) -> dict[str, str]:
    """Field name -> the string literal below it, on one line, for a dataclass and those that it derives from."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _documented(base)
    return found


def _documented(owner: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[node.target.id] = " ".join(str(after.value.value).split())  # type: ignore[union-attr]
    return found


def first_sentence(text: str) -> str:
    """A docstring's first sentence with its full stop; "" of an empty one."""
    first = text.split(". ")[0]
    return first if not first or first.endswith((".", "?")) else f"{first}."


def written(value: Any) -> str:
    """A value as a setting is written on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _walk(owner: type, prefix: str, given: Any, kind: str | None, algorithms: dict[str, type]) -> Iterator[Field]:
    """`given` holds the defaults that the group around has for this one; MISSING where the class's own count."""
    texts = docstrings(owner)
    declared = {each.name: each for each in dataclasses.fields(owner)}
    for name, hint in schema.fields_of(owner).items():
        path = f"{prefix}.{name}".lstrip(".")
        default = _default(declared[name]) if given is MISSING else getattr(given, name)
        text = _kind_text(owner) if path == "algorithm.kind" else texts.get(name, "")
        yield Field(path, text, hint, default, kind)
        if path == "algorithm":
            for each, config in algorithms.items():
                yield from _walk(config, path, MISSING, each, algorithms)
        elif (group := _group(hint)) is not None:
            yield from _walk(group, path, default, kind, algorithms)


def _group(hint: Any) -> type | None:
    plain = schema.optional(hint) or schema.bare(hint)
    return plain if isinstance(plain, type) and dataclasses.is_dataclass(plain) else None


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _kind_text(owner: type) -> str:
    """An algorithm's kind is explained by the first paragraph of its module."""
    return " ".join((sys.modules[owner.__module__].__doc__ or "").split("\n\n")[0].split())
