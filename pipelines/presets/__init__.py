"""Experiments worth running: a module per family, whose public functions are the presets, and other people's.

The docstring of a preset has command, expected result, cost and status. Every preset has a `debug_` form: the same, shrunk
to images of at most 8x8 and seconds of one CPU. Every StyleALAE preset has a `_compat` form, which follows the official
code where the default does not; `debug_<preset>_compat` is both.
"""

from typing import TYPE_CHECKING

from pipelines.presets.lookup.about import About
from pipelines.presets.lookup.catalogue import about, names

if TYPE_CHECKING:
    from pipelines.experiment import Experiment

__all__ = ["About", "about", "load", "names"]


def load(text: str) -> "Experiment":
    """The experiment of a preset's name or form, of a `.py` with `experiment()`, or of a `.json`, which may be a URL.

    A named preset is named so; an experiment from a file keeps its name. Raises ValueError with one sentence: for an
    unknown name, with the nearest ones; for a file, with what is wrong with it.
    """
    from pipelines.presets.lookup import loading  # imports torch, which a list of names does not need

    return loading.load(text)
