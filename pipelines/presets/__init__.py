"""Experiments worth running, one module each; each docstring has command, result, cost, status.

Every preset has a `debug_` form: the same, shrunk to images of at most 8x8 and seconds of one CPU.
"""

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

from pipelines import schema
from pipelines.experiment import Experiment

DEBUG = "debug_"


def names() -> list[str]:
    """The presets, sorted, without their debug forms."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Experiment:
    """The experiment of one preset. Raises ValueError with the nearest names if there is no such preset."""
    prefix = DEBUG if name.startswith(DEBUG) else ""
    known = {f"{prefix}{preset}": preset for preset in names()}
    if name not in known:
        raise ValueError(f"{name} is not a preset; {schema.choices(name, known)}")
    experiment: Experiment = import_module(f"{__name__}.{known[name]}").experiment()
    return replace(experiment.tiny(), name=name) if prefix else experiment
