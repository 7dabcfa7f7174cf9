"""Presets: ready experiments. Each module holds those of one family as public functions; packages may add others.

The docstring of a preset has command, expected result, cost and status. Each preset has a `debug_` form, shrunk to the
smallest images of its networks (8x8 where possible) and to seconds on one CPU. Each StyleALAE preset has a `_compat` form,
which follows the official code where the defaults differ; `debug_<preset>_compat` combines both.
"""

from typing import TYPE_CHECKING

from pipelines.presets.lookup.about import About
from pipelines.presets.lookup.catalogue import about, names

if TYPE_CHECKING:
    from pipelines.experiment import Experiment

__all__ = ["About", "about", "load", "names"]


def load(text: str) -> "Experiment":
    """Return the experiment that `text` names: a preset or a form of it, a `.py` with `experiment()`, or a `.json`.

    A `.json` may be a URL. The experiment of a preset has the name `text`; one from a file keeps its own. Raises ValueError
    with one sentence for an unknown name or an invalid file.
    """
    from pipelines.presets.lookup import loading  # imports torch, which listing names does not need

    return loading.load(text)
