"""Experiments worth running, one module each; each docstring has command, result, cost, status."""

from importlib import import_module
from pkgutil import iter_modules

from pipelines import schema
from pipelines.experiment import Experiment


def names() -> list[str]:
    """The presets, sorted."""
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Experiment:
    """The experiment of one preset. Raises ValueError with the nearest names if there is no such preset."""
    if name not in names():
        raise ValueError(f"{name} is not a preset; {schema.choices(name, names())}")
    experiment: Experiment = import_module(f"{__name__}.{name}").experiment()
    return experiment
