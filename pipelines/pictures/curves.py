"""Curves of a run's metrics over the number of training images (kimg): one panel per curve, or all in one chart."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipelines.sources.decoding import Pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Mapping[float, tuple[float, float | None]]
"""Maps kimg to a value and its standard error, or None if it has none."""
ERROR = "_se"
WIDTH_IN, HEIGHT_IN, DPI = 6.0, 3.0, 100


def curve_page(curves: Mapping[str, Curve]) -> Pixels:
    """Draw one panel per curve, with a band of two standard errors on both sides -> page uint8 [H, W, 3].

    Raises ValueError if `curves` is empty.
    """
    # Imported here because it takes a second and most users of this module draw nothing.
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("there are no values to draw; name metrics that the run has recorded")
    figure = Figure((WIDTH_IN, HEIGHT_IN * len(curves)), DPI, layout="constrained")
    panels = figure.subplots(len(curves), squeeze=False)[:, 0]
    for axes, (name, curve) in zip(panels, curves.items(), strict=True):
        kimg, values = list(curve), np.array([value for value, _ in curve.values()])
        errors = np.array([2 * (error or 0.0) for _, error in curve.values()])
        axes.plot(kimg, values, marker="o", markersize=3)
        axes.fill_between(kimg, values - errors, values + errors, alpha=0.3, linewidth=0)
        axes.set(title=name, xlabel="kimg")
        axes.grid(alpha=0.3)
    return _pixels(figure)


def chart_page(title: str, curves: Mapping[str, Curve]) -> Pixels:
    """Draw all curves in one panel with a legend -> page uint8 [H, W, 3]; raises ValueError if `curves` is empty."""
    return _pixels(chart(title, curves))


def chart(title: str, curves: Mapping[str, Curve]) -> "Figure":
    """The figure of `chart_page`: one line per curve, labelled with the part of its name after the last slash."""
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("there are no values to draw; name metrics that the run has recorded")
    figure = Figure((WIDTH_IN, HEIGHT_IN), DPI, layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(list(curve), [value for value, _ in curve.values()], label=name.rpartition("/")[2])
    axes.set(title=title, xlabel="kimg")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _pixels(figure: "Figure") -> Pixels:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    with Image.open(stream) as page:
        return np.asarray(page.convert("RGB"))
