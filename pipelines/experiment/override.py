"""Overrides of an experiment as text ("training.tick_kimg=2"), and the differences of two experiments."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pipelines.experiment import Experiment, schema

# Groups and fields that a resumed run may change. Workers and micro-batches split the same global batch: they
# change only the order of floating-point sums, and each must be free to follow the other. A run that damaged
# images have stopped may skip them. Name and storage follow the run's folder, and data.path follows the dataset:
# dataset.json holds the checksums of its images. The other fields do not affect the training.
RESUMABLE = (
    "name",
    "scaling",
    "tracking",
    "evaluation",
    "data.path",
    "data.read_ahead_gib",
    "data.damaged",
    "training.microbatch",
    "training.checkpoint_ticks",
    "training.keep_checkpoints",
    "training.storage",
    "training.check_replicas",
)
BY_DIGEST = ("training.vgg16_weights", "training.init_from")
"""Fields that name a file by path or URL. A resume may change the path if the file's digest is the same."""

CHANGEABLE = (
    "schedule.stable_kimg",
    "schedule.batch_size",
    "schedule.lr",
    "schedule.lr_falls_from_kimg",
    "schedule.lr_halves_every_kimg",
    "training.ema_half_life_kimg",
    "training.microbatch",
)
"""Settings that a declared change may set in mid-run, beside the weights of losses: functions of nimg or of one batch.
Adam's settings are not among them: a checkpoint brings its own."""

_BOOLS = {"true": True, "false": False}
_NULLS = ("null", "none", "None")


def override(experiment: Experiment, assignments: Iterable[str]) -> Experiment:
    """Return the experiment with each "dotted.path=value" applied.

    The field's type determines how a value is read: `3`, `1e-3`, `true`, `null`, `4,8,16` or `[4,8,16]`, or text.
    Raises ValueError for an unknown field, a value of the wrong type, or a field that is given twice.
    `Experiment.validate` checks whether the fields fit together.
    """
    tree = dataclasses.asdict(experiment)
    given: dict[str, str] = {}
    for assignment in assignments:
        path, text = _split(assignment)
        if path in given:
            raise ValueError(f"{path} is given twice, as {given[path]} and as {text}; keep one")
        given[path] = text
        _place(tree, path, _value(path, text, _hint(experiment, path)))
    return Experiment.from_json(json.dumps(tree))


def differences(old: Experiment, new: Experiment) -> dict[str, str]:
    """Return dotted path -> "dotted.path: old -> new" of the fields that differ, in the order of the fields."""
    before, after = old.flatten(), new.flatten()
    paths = [path for path in {**before, **after} if _written(before, path) != _written(after, path)]
    return {path: f"{path}: {_written(before, path)} -> {_written(after, path)}" for path in paths}


def resume_differences(old: Experiment, new: Experiment) -> list[str]:
    """Return the differences that prevent a resume: those of fields outside `RESUMABLE`.

    Another path of a file in `BY_DIGEST` is no difference; the caller compares digests.
    """
    before, after = old.flatten(), new.flatten()
    moved = {path for path in BY_DIGEST if before[path] is not None and after[path] is not None}
    return [line for path, line in differences(old, new).items() if path not in moved and not resumable(path)]


def resumable(path: str) -> bool:
    """Whether a resumed run may change the field, or the whole group, at `path`."""
    return path in RESUMABLE or path.split(".")[0] in RESUMABLE


def changeable(path: str, before: Experiment, after: Experiment) -> bool:
    """Whether a declared change may turn the setting at `path` in mid-run from its value before to that after."""
    values = (before.flatten().get(path), after.flatten().get(path))
    return path in CHANGEABLE or (
        path.startswith("algorithm.loss.") and all(isinstance(value, float) for value in values)
    )


def _split(assignment: str) -> tuple[str, str]:
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise ValueError(f'"{assignment}" is not an override; write field=value, such as training.tick_kimg=2')
    return path.strip(), text.strip()


def _hint(experiment: Experiment, path: str) -> Any:
    """Type of the field at `path`, looked up in the dataclasses of this experiment."""
    if path == "algorithm.kind":
        raise ValueError(
            "algorithm.kind cannot be overridden, because every other field of the algorithm depends on it; "
            "start from a preset of the wanted kind"
        )
    node, hint, walked = experiment, Experiment, ""
    for name in path.split("."):
        if not dataclasses.is_dataclass(node):
            raise ValueError(f"{path} is not a field: {walked} is a single value; write {walked}=value")
        known = schema.fields_of(type(node))
        if name not in known:
            raise ValueError(_unknown(experiment, path, name, walked, list(known)))
        node, hint, walked = getattr(node, name), known[name], f"{walked}.{name}".lstrip(".")
    if dataclasses.is_dataclass(node):
        names = ", ".join(f"{path}.{name}" for name in schema.fields_of(type(node)))
        raise ValueError(f"{path} is a group of fields; set one of {names}")
    return hint


def _unknown(experiment: Experiment, path: str, name: str, owner: str, known: list[str]) -> str:
    # Users forget the group more often than they misspell the field.
    last = path.split(".")[-1]
    elsewhere = [leaf for leaf in experiment.flatten() if leaf.split(".")[-1] == last]
    if elsewhere:
        return f"{path} is not a field; did you mean {' or '.join(elsewhere)}? Known: {', '.join(known)}"
    prefix = f"{owner}." if owner else ""
    return f"{path} is not a field; {schema.choices(name, known, prefix)}"


def _value(path: str, text: str, hint: Any) -> Any:
    try:
        return _read(text, hint)
    except (ValueError, KeyError):
        raise ValueError(f"{path}={text} must be {schema.expected(hint)}") from None


def _read(text: str, hint: Any) -> Any:
    if (inner := schema.optional(hint)) is not None:
        return None if text in _NULLS else _read(text, inner)
    plain = schema.bare(hint)
    if get_origin(plain) is tuple:
        items = text.strip("[]()").rstrip(",").split(",")
        return [_read(item.strip(), get_args(plain)[0]) for item in items]
    if get_origin(plain) is Literal:
        return {str(value): value for value in get_args(plain)}[text]
    return _BOOLS[text] if plain is bool else plain(text)


def _place(tree: dict[str, Any], path: str, value: Any) -> None:
    *groups, name = path.split(".")
    for group in groups:
        tree = tree[group]
    tree[name] = value


def _written(leaves: dict[str, Any], path: str) -> str:
    if path not in leaves:
        return "absent"
    return leaves[path] if isinstance(leaves[path], str) else json.dumps(leaves[path])
