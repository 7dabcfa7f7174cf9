"""A preset in words: the sections of its docstring."""

import re
from dataclasses import dataclass
from inspect import cleandoc

_SECTION = re.compile(r"^(\w+): +(.*(?:\n +.*)*)", re.MULTILINE)
_RESOLUTION = re.compile(r"(\d+)_")


@dataclass(frozen=True)
class About:
    """What a preset says of itself; a section that its docstring lacks is empty."""

    name: str
    family: str
    """Module that holds it; for a preset of another package, the dotted path."""
    summary: str
    """First sentence or sentences: the first paragraph, in one line."""
    resolution: int | None
    """Finest image side in pixels, by the rule of names `<data><resolution>_<method>`; None for a name without it."""
    command: str
    """First line: the command that trains it; then, a line each, how its data is packed and what may vary."""
    expected: str
    """Results to expect, and where they are reported; in one line."""
    cost: str
    """Images, and time where it is known; in one line."""
    status: str
    """How far it has been run; in one line."""


def read(name: str, family: str, docstring: str) -> About:
    """The sections of a preset's docstring."""
    text = cleandoc(docstring)
    sections = {heading: [line.strip() for line in body.split("\n")] for heading, body in _SECTION.findall(text)}

    def prose(heading: str) -> str:
        return " ".join(sections.get(heading, ()))

    side = _RESOLUTION.search(name)
    return About(
        name=name,
        family=family,
        summary=" ".join(text.split("\n\n")[0].split()),
        resolution=int(side.group(1)) if side else None,
        command="\n".join(sections.get("Command", ())),
        expected=prose("Expected"),
        cost=prose("Cost"),
        status=prose("Status"),
    )
