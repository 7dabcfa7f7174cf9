"""Parses JSON into dataclasses by their type hints and reports each problem as one sentence."""

import dataclasses
import difflib
import json
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

_SINGULAR = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "texts"}
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


@dataclass(frozen=True)
class ByKind:
    """Annotation of a field that holds one of several dataclasses, selected by `kind`; `find` may add new ones."""

    find: Callable[[str], type | None]
    """Returns the dataclass of a kind, or None; raises ValueError if the kind names no valid dataclass."""
    members: Callable[[], Mapping[str, type]]
    """Returns the dataclasses found so far, by kind."""
    kinds: Callable[[], Iterable[str]]
    """Returns the kinds to list in an error."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = {kind: handler.generate_schema(member) for kind, member in self.members().items()}
        return core_schema.tagged_union_schema(members, discriminator="kind")


def parse(kind: type[T], text: str) -> T:
    """Return an instance of the dataclass `kind` from the JSON `text`.

    Integers are accepted for floats; nothing else is converted. Raises ValueError with one line per problem.
    """
    _find_members(kind, text)
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
    raise ValueError("\n".join(_sentence(kind, problem) for problem in found))


def _find_members(kind: type, text: str) -> None:
    """Import the dataclasses that the kinds in `text` name, before pydantic builds the schema of the union."""
    try:
        tree = json.loads(text)
    except ValueError:
        return  # pydantic reports the error
    for name, hint in fields_of(kind).items():
        value = tree.get(name) if isinstance(tree, dict) else None
        if (choice := by_kind(hint)) and isinstance(value, dict) and isinstance(value.get("kind"), str):
            choice.find(value["kind"])


def by_kind(hint: Any) -> ByKind | None:
    """Return the `ByKind` annotation of a hint, or None."""
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((note for note in notes if isinstance(note, ByKind)), None)


def fields_of(kind: type) -> dict[str, Any]:
    """Return field name -> type hint of a dataclass, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def bare(hint: Any) -> Any:
    """Return the hint without its `Annotated` bounds."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def optional(hint: Any) -> Any | None:
    """Return the type of an optional hint without None; None for a hint that is not optional."""
    if get_origin(bare(hint)) not in (Union, types.UnionType) or type(None) not in get_args(bare(hint)):
        return None
    return next(member for member in get_args(bare(hint)) if member is not type(None))


def expected(hint: Any) -> str:
    """Describe the values that a hint accepts, in words that complete "must be ..."."""
    plain = bare(hint)
    if choice := by_kind(hint):
        return f"a group of fields: kind ({', '.join(choice.kinds())})"
    if (inner := optional(hint)) is not None:
        return f"{expected(inner)}, or null"
    if get_origin(plain) is Literal:
        return f"one of {', '.join(map(str, get_args(plain)))}"
    if get_origin(plain) is tuple:
        return f"a list of {_PLURAL[bare(get_args(plain)[0])]}"
    if plain in _SINGULAR:
        return _SINGULAR[plain] + _bounds(hint)
    return f"a group of fields: {', '.join(fields_of(plain))}"


def choices(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a guess if one is similar, then all known names, most similar first; `prefix` precedes the guess only."""

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()

    ranked = sorted(known, key=likeness, reverse=True)
    guess = f"did you mean {prefix}{ranked[0]}? " if ranked and likeness(ranked[0]) >= 0.6 else ""
    return f"{guess}Known: {', '.join(ranked)}"


def _bounds(hint: Any) -> str:
    words = {Ge: "at least {0.ge}", Gt: "above {0.gt}", Le: "at most {0.le}", Lt: "below {0.lt}"}
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    said = [words[type(note)].format(note) for note in notes if type(note) in words]
    return f" {' and '.join(said)}" if said else ""


def _locate(root: Any, place: tuple[int | str, ...]) -> tuple[str, Any]:
    """Dotted path and type hint of the value at pydantic's location."""
    path, hint = "", root
    for step in place:
        if isinstance(step, int):
            path, hint = f"{path}[{step}]", get_args(bare(optional(hint) or hint))[0]
        elif choice := by_kind(hint):
            # The step names the member of a union, which is no part of the path.
            hint = choice.members()[step]
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
    if kind.startswith("union_tag") and (choice := by_kind(hint)):
        if "kind" not in value:
            return f"{path}.kind is missing; it must be one of {', '.join(choice.kinds())}"
        return f"{path}.kind={_shown(value['kind'])} is not known; {choices(str(value['kind']), choice.kinds())}"
    if kind == "missing":
        return f"{path} is missing; it must be {expected(hint)}"
    return f"{path or 'the whole'}={_shown(value)} must be {expected(hint)}"


def _shown(value: Any) -> str:
    return "{...}" if isinstance(value, dict) else json.dumps(value, default=repr)
