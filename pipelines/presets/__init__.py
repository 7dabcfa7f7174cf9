"""Experiments worth running, one module each; each docstring has command, result, cost, status.

Every preset has a `debug_` form: the same, shrunk to images of at most 8x8 and seconds of one CPU. Every StyleALAE preset
has a `_compat` form, which follows the official code where the default does not; `debug_<preset>_compat` is both.
"""

import ast
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from pipelines.presets.lookup.about import About, read

if TYPE_CHECKING:
    from pipelines.experiment import Experiment

DEBUG = "debug_"
COMPAT = "_compat"


def names() -> list[str]:
    """The presets, sorted, without their other forms; imports none of them."""
    return sorted(module.name for module in iter_modules(__path__) if not module.ispkg)


def about(name: str) -> About:
    """What the preset of this name says of itself; imports none. Raises ValueError if there is no such preset."""
    if name not in names():
        raise _unknown(name, names())
    docstring = ast.get_docstring(ast.parse((Path(__path__[0]) / f"{name}.py").read_text())) or ""
    return read(name, name.split("_", 1)[1], docstring)


def load(name: str) -> "Experiment":
    """The experiment of one preset or of a form of it.

    Raises ValueError with the nearest names if there is no such preset, or if it has no such form.
    """
    from pipelines.experiment.official import compat

    prefix = DEBUG if name.startswith(DEBUG) else ""
    suffix = COMPAT if name.endswith(COMPAT) else ""
    known = {f"{prefix}{preset}{suffix}": preset for preset in names()}
    if name not in known:
        raise _unknown(name, known)
    experiment: Experiment = import_module(f"{__name__}.{known[name]}").experiment()
    if suffix:
        experiment = compat(experiment)
    return replace(experiment.tiny() if prefix else experiment, name=name)


def _unknown(name: str, known) -> ValueError:  # type: ignore[no-untyped-def]
    from pipelines.experiment import schema

    return ValueError(f"{name} is not a preset; {schema.choices(name, known)}")
