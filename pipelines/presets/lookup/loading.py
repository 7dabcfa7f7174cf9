"""Loads an experiment by a preset's name, from a Python file, or from JSON at a path or URL."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from pipelines import storage, user_code
from pipelines.experiment import Experiment
from pipelines.experiment.official import compat
from pipelines.presets.lookup import catalogue

DEBUG = "debug_"
COMPAT = "_compat"
FUNCTION = "experiment"


def load(text: str) -> Experiment:
    """Return the experiment that `text` names: a preset or a form of it, a `.py` with `experiment()`, or a `.json`.

    A `.json` may be a URL. The experiment of a preset has the name `text`; one from a file keeps its own. Raises ValueError
    with one sentence for an unknown name or an invalid file.
    """
    if text.endswith(".py"):
        return _returned(user_code.import_file(Path(text).expanduser()), FUNCTION, text)
    if text.endswith(".json"):
        return _parsed(text)
    return _named(text)


def _named(text: str) -> Experiment:
    prefix = DEBUG if text.startswith(DEBUG) else ""
    suffix = COMPAT if text.endswith(COMPAT) else ""
    known = {f"{prefix}{preset}{suffix}": preset for preset in catalogue.names()}
    if text not in known:
        raise ValueError(catalogue.unknown(text, known))
    experiment = _of_preset(known[text])
    if suffix:
        experiment = compat(experiment)
    return replace(experiment.tiny() if prefix else experiment, name=text)


def _of_preset(name: str) -> Experiment:
    if name in catalogue.ours():
        module = import_module(f"pipelines.presets.{catalogue.ours()[name].family}")
        return _returned(module, name, name)
    place = catalogue.entries()[name].value
    module_name, _, function = place.partition(":")
    return _returned(user_code.import_module(module_name), function or FUNCTION, f"the preset {name} ({place})")


def _returned(module: object, function: str, place: str) -> Experiment:
    make = getattr(module, function, None)
    if not callable(make):
        raise ValueError(f"{place} has no function {function}(); it must return an Experiment")
    experiment = make()
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{function}() of {place} returned {type(experiment).__name__}; it must return an Experiment")
    return experiment


def _parsed(url: str) -> Experiment:
    text = storage.read_bytes(url)
    try:
        return Experiment.from_json(text.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{url} is not JSON: {error}") from error
    except ValueError as error:
        raise ValueError("\n".join(f"{url}: {line}" for line in str(error).splitlines())) from error
