"""What a tree of dataclasses accepts, read from its type hints, and every refusal as one sentence."""

import dataclasses
import difflib
import json
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

_SINGULAR = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "texts"}
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def parse(kind: type[T], text: str) -> T:
    """The dataclass `kind` that the JSON `text` describes.

    Whole numbers pass for numbers; nothing else is converted. Raises ValueError with one line per problem.
    """
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
    raise ValueError("\n".join(_sentence(kind, problem) for problem in found))


def fields_of(kind: type) -> dict[str, Any]:
    """Field name -> type hint of a dataclass, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def bare(hint: Any) -> Any:
    """The hint without its `Annotated` bounds."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def optional(hint: Any) -> Any | None:
    """What an optional hint holds when it is not null, or None for a hint that never is null."""
    if get_origin(bare(hint)) not in (Union, types.UnionType) or type(None) not in get_args(bare(hint)):
        return None
    return next(member for member in get_args(bare(hint)) if member is not type(None))


def expected(hint: Any) -> str:
    """The values a hint accepts, in words that complete "must be ..."."""
    plain = bare(hint)
    if (inner := optional(hint)) is not None:
        return f"{expected(inner)}, or null"
    if get_origin(plain) is Literal:
        return f"one of {', '.join(map(str, get_args(plain)))}"
    if get_origin(plain) is tuple:
        return f"a list of {_PLURAL[bare(get_args(plain)[0])]}"
    if plain in _SINGULAR:
        return _SINGULAR[plain] + _bounds(hint)
    return f"a group of fields: {', '.join(_group(plain))}"


def choices(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A guess if one is near, then all known names, nearest first; `prefix` goes before the guess only."""

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()

    ranked = sorted(known, key=likeness, reverse=True)
    guess = f"did you mean {prefix}{ranked[0]}? " if ranked and likeness(ranked[0]) >= 0.6 else ""
    return f"{guess}Known: {', '.join(ranked)}"


def _is_group(plain: Any) -> bool:
    return isinstance(plain, type) and dataclasses.is_dataclass(plain)


def _bounds(hint: Any) -> str:
    words = {Ge: "at least {0.ge}", Gt: "above {0.gt}", Le: "at most {0.le}", Lt: "below {0.lt}"}
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    said = [words[type(note)].format(note) for note in notes if type(note) in words]
    return f" {' and '.join(said)}" if said else ""


def _group(plain: Any) -> list[str]:
    """The fields of a dataclass; of a union of them, the one that tells its members apart."""
    return list(fields_of(plain)) if _is_group(plain) else [f"kind ({', '.join(_members(plain))})"]


def _members(union: Any) -> dict[str, type]:
    """The dataclasses of a discriminated union by their kind."""
    return {get_args(fields_of(member)["kind"])[0]: member for member in get_args(bare(union))}


def _locate(root: Any, place: tuple[int | str, ...]) -> tuple[str, Any]:
    """The dotted path and the hint of the value that pydantic points at."""
    path, hint = "", root
    for step in place:
        if isinstance(step, int):
            path, hint = f"{path}[{step}]", get_args(bare(optional(hint) or hint))[0]
        elif not _is_group(bare(hint)):
            # The step names the member of a union, which is no part of the path.
            hint = _members(hint)[step]
        else:
            path, hint = f"{path}.{step}".lstrip("."), fields_of(bare(hint)).get(step)
    return path, hint


def _sentence(root: type, problem: Any) -> str:
    kind, place, value = problem["type"], problem["loc"], problem["input"]
    if kind == "json_invalid":
        return f"not JSON: {problem['ctx']['error']}"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    path, hint = _locate(root, place)
    if kind in _UNKNOWN:
        _, owner = _locate(root, place[:-1])
        prefix = path.removesuffix(str(place[-1]))
        return f"{path} is not a field; {choices(str(place[-1]), fields_of(owner), prefix)}"
    if kind.startswith("union_tag"):
        members = _members(hint)
        if "kind" not in value:
            return f"{path}.kind is missing; it must be one of {', '.join(members)}"
        return f"{path}.kind={_shown(value['kind'])} is not known; {choices(str(value['kind']), members)}"
    if kind == "missing":
        return f"{path} is missing; it must be {expected(hint)}"
    return f"{path or 'the whole'}={_shown(value)} must be {expected(hint)}"


def _shown(value: Any) -> str:
    return "{...}" if isinstance(value, dict) else json.dumps(value, default=repr)
