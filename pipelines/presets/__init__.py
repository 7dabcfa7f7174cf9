"""Experiments worth running, one module each; each docstring has command, result, cost, status.

Every preset has a `debug_` form: the same, shrunk to images of at most 8x8 and seconds of one CPU. Every StyleALAE preset
has a `_compat` form, which follows the official code where the default does not; `debug_<preset>_compat` is both.
"""

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

from pipelines.experiment import Experiment, schema
from pipelines.experiment.official import compat

DEBUG = "debug_"
COMPAT = "_compat"


def names() -> list[str]:
    """The presets, sorted, without their other forms."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Experiment:
    """The experiment of one preset or of a form of it.

    Raises ValueError with the nearest names if there is no such preset, or if it has no such form.
    """
    prefix = DEBUG if name.startswith(DEBUG) else ""
    suffix = COMPAT if name.endswith(COMPAT) else ""
    known = {f"{prefix}{preset}{suffix}": preset for preset in names()}
    if name not in known:
        raise ValueError(f"{name} is not a preset; {schema.choices(name, known)}")
    experiment: Experiment = import_module(f"{__name__}.{known[name]}").experiment()
    if suffix:
        experiment = compat(experiment)
    return replace(experiment.tiny() if prefix else experiment, name=name)
