"""`alae presets`: the ready experiments as a table by family, or as plain data."""

import dataclasses
import re
import shutil
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pipelines import presets
from pipelines.presets.lookup.about import About

ROOM = 36
"""Characters that a summary needs to stand in a column of its own rather than below its preset."""
FORMS = """\
debug_NAME      a tiny form, seconds on one CPU, to see that all works
NAME_compat     StyleALAE only: the official code's choices where they differ
alae show NAME  prints all settings of a preset

Commands take as PRESET a name, a .py file with a function experiment(), or a
.json file or URL."""


def all_presets() -> list[About]:
    """Every preset, those of one family together."""
    return sorted(map(presets.about, presets.names()), key=lambda about: (about.family, about.name))


def rows(found: Sequence[About]) -> list[dict[str, Any]]:
    """The full texts, for JSON."""
    return [dataclasses.asdict(about) for about in found]


def table(found: Sequence[About], columns: int | None = None) -> str:
    """A line for each preset with its summary in the last column, or below it in a narrow terminal; `columns` in characters."""
    columns = columns or shutil.get_terminal_size().columns
    cells = {about.name: _cells(about) for about in found}
    heading = ("  name", "px", "images", "status")
    widths = [max(map(len, column)) for column in zip(heading, *cells.values(), strict=True)]
    left = sum(widths) + 2 * len(widths)
    stacked = columns - left < ROOM
    lines = [_line(heading, widths) if stacked else f"{_line(heading, widths)}  what it is"]
    for family, members in groupby(found, key=lambda about: about.family):
        lines += ["", family]
        for about in members:
            first = _line(cells[about.name], widths)
            what = textwrap.wrap(about.summary, columns - (6 if stacked else left)) or [""]
            if stacked:
                lines += [first, *(f"      {line}" for line in what)]
            else:
                lines += [f"{first}  {what[0]}", *(" " * left + line for line in what[1:])]
    return "\n".join(line.rstrip() for line in [*lines, "", FORMS])


def _cells(about: About) -> tuple[str, ...]:
    status = re.split(r"[,;]| at full size", about.status)[0]
    return f"  {about.name}", str(about.resolution or ""), _images(about.cost), status


def _images(cost: str) -> str:
    """How many images training takes, as the preset's cost says; a cost may refer to another preset by `as NAME`."""
    if (other := cost.removeprefix("as ")) in presets.names():
        return _images(presets.about(other).cost)
    found = re.search(r"([\d.]+ (?:million|thousand)) images", cost)
    return found.group(1) if found else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, side, images, status = (
        f"{cell:{align}{width}}" for cell, align, width in zip(cells, "<>><", widths, strict=True)
    )
    return f"{name}  {side}  {images}  {status}"
