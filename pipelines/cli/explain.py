"""`alae explain`: a setting's docstring, type, default and whether a resumed run may change it; or the settings of a group."""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING
from typing import Any

from pipelines.cli.fields import Field, fields, first_sentence, written
from pipelines.cli.parser import fill, nearest, width
from pipelines.experiment import Experiment, schema
from pipelines.experiment.override import resumable

KIND = "algorithm.kind"
KIND_TEXT = "The algorithm. A preset fixes it; it cannot be overridden."
NAMES = 24
"""Characters of the column of names; a longer name stands on a line of its own."""


def explain(path: str, experiment: Experiment | None = None) -> str:
    """Explain the setting or group at `path`; "" lists the groups. With an experiment, its algorithm and values only.

    Raises ValueError with the nearest path if there is no such setting.
    """
    known = fields({experiment.algorithm.kind: type(experiment.algorithm)}) if experiment else fields()
    found = [field for field in known if field.path == path]
    if path and not found:
        raise ValueError(_unknown(path, known, experiment))
    if path == KIND:
        rows = [(field.kind or "", field.text) for field in found]
        return f"{path}\n\n{fill(KIND_TEXT, width(), '  ', '  ')}\n\n{_table(rows)}"
    # One name may be a value in one algorithm and a group in another.
    values = [field for field in found if not field.is_group]
    parts = [_setting(values, experiment)] if values else []
    if len(values) == 0 or len(values) < len(found):
        parts.append(_group(path, known, experiment))
    return "\n\n".join(parts)


def _unknown(path: str, known: Sequence[Field], experiment: Experiment | None) -> str:
    paths = list(dict.fromkeys(field.path for field in known))
    last = path.split(".")[-1]
    # Users forget the group more often than they misspell the field.
    near = [each for each in paths if each.split(".")[-1] == last] or list(filter(None, [nearest(path, paths)]))
    where = f" of {experiment.name}" if experiment else ""
    guess = f"did you mean {' or '.join(near)}?" if near else "alae explain lists the groups"
    return f"{path} is not a setting{where}; {guess}"


def _setting(found: Sequence[Field], experiment: Experiment | None) -> str:
    """The text and a table; several where algorithms mean different things by one name."""
    path = found[0].path
    blocks = []
    for alike in _merged(found, lambda field: (field.text, _default(field), schema.expected(field.hint))):
        kinds = ", ".join(field.kind for field in alike if field.kind)
        rows = [("type", schema.expected(alike[0].hint)), ("default", _default(alike[0]))]
        rows += [("algorithms", kinds)] if kinds else []
        blocks.append((fill(_sentence(alike[0].text), width(), "  ", "  "), rows))
    ending = [("on resume", "may change" if resumable(path) else "fixed once the run has begun")]
    value = found[0].default
    if experiment:
        value = experiment.flatten()[path]
        ending.append(("value", f"{written(value)} in {experiment.name}"))
    shown = "VALUE" if value in (MISSING, None) else written(value)
    ending.append(("to set it", f"alae train {experiment.name if experiment else 'PRESET'} {path}={shown}"))
    if len(blocks) == 1:
        return f"{path}\n\n{blocks[0][0]}\n\n{_table([*blocks[0][1], *ending])}"
    return "\n\n".join([path, *(f"{text}\n\n{_table(rows)}" for text, rows in blocks), _table(ending)])


def _group(path: str, known: Sequence[Field], experiment: Experiment | None) -> str:
    """The settings right below a group, each with its first sentence."""
    own = _merged((field for field in known if path == field.path and field.is_group), lambda field: field.text)
    below = [field for field in known if field.path.rpartition(".")[0] == path]
    values = experiment.flatten() if experiment else {}
    every = len({field.kind for field in below})
    rows = []
    for alike in _merged(below, lambda field: field.text if field.path != KIND else ""):
        first = alike[0]
        value = f"={written(values[first.path])}" if first.path in values else ""
        kinds = [field.kind for field in alike if field.kind]
        text = KIND_TEXT if first.path == KIND else first_sentence(first.text)
        some = f" ({', '.join(kinds)})" if kinds and len(kinds) < every else ""
        rows.append((f"{first.name}{'.*' if first.is_group else value}", text + some))
    heading = f"{path or 'The settings of an experiment'}{f': {own[0][0].text}' if len(own) == 1 else ''}"
    endings = [_may_change(list(dict.fromkeys(field.path for field in below)))] if path else []
    if every > 1:
        endings.append(f"For one algorithm: alae explain {path} PRESET.")
    if inner := [field.path for field in below if field.is_group]:
        endings.append(f"Names with .* are groups; alae explain {inner[-1]} lists one.")
    return f"{fill(heading, width())}\n\n{_table(rows)}\n\n{fill(' '.join(endings), width())}"


def _may_change(paths: Sequence[str]) -> str:
    changeable = [path.rpartition(".")[2] for path in paths if resumable(path)]
    if not changeable:
        return "A resumed run may change none of them."
    return f"A resumed run may change {'all of them' if len(changeable) == len(paths) else ', '.join(changeable)}."


def _merged(found: Iterable[Field], key: Any) -> list[list[Field]]:
    """Fields with the same path and key together, those with the same path next to each other."""
    groups: dict[str, dict[Any, list[Field]]] = {}
    for field in found:
        groups.setdefault(field.path, {}).setdefault(key(field), []).append(field)
    return [alike for keyed in groups.values() for alike in keyed.values()]


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "?")) else f"{text}."


def _default(field: Field) -> str:
    return "none: each preset gives it" if field.default is MISSING else written(field.default)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    wide = min(max(len(name) for name, _ in rows), NAMES)
    indent = " " * (wide + 4)
    lines = []
    for name, text in rows:
        lines += [f"  {name}"] if len(name) > wide else []
        lines.append(fill(text, width(), indent if len(name) > wide else f"  {name:<{wide}}  ", indent))
    return "\n".join(lines)
