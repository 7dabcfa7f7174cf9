"""What a preset says of itself: the sections of its docstring, read without importing it."""

import re
from dataclasses import dataclass
from inspect import cleandoc

HEADINGS = ("Command", "Expected", "Cost", "Status")
_SECTION = re.compile(r"^(\w+): +(.*(?:\n +.*)*)", re.MULTILINE)
_RESOLUTION = re.compile(r"(\d+)_")


@dataclass(frozen=True)
class About:
    """A preset in words; a section that its docstring lacks is empty."""

    name: str
    family: str
    """Module that holds it."""
    summary: str
    """First line of the docstring."""
    resolution: int | None
    """Finest image side in pixels, by the rule of names `<data><resolution>_<method>`; None for a name without it."""
    command: str
    """First line: the command that trains it; then, a line each, how its data is packed and what may vary."""
    expected: str
    cost: str
    status: str


def read(name: str, family: str, docstring: str) -> About:
    """The sections of a preset's docstring; those that are prose become one line each."""
    text = cleandoc(docstring)
    sections = {heading: [line.strip() for line in body.split("\n")] for heading, body in _SECTION.findall(text)}
    side = _RESOLUTION.search(name)
    return About(
        name=name,
        family=family,
        summary=" ".join(text.split("\n\n")[0].split()),
        resolution=int(side.group(1)) if side else None,
        command="\n".join(sections.get("Command", ())),
        **{heading.lower(): " ".join(sections.get(heading, ())) for heading in HEADINGS[1:]},
    )
