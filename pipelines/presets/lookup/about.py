"""The description of a preset: the sections of its docstring."""

import re
from dataclasses import dataclass
from inspect import cleandoc

_SECTION = re.compile(r"^(\w+): +(.*(?:\n +.*)*)", re.MULTILINE)
_RESOLUTION = re.compile(r"(\d+)_")


@dataclass(frozen=True)
class About:
    """Description of a preset; a section that is missing in its docstring is empty."""

    name: str
    family: str
    """Name of its module in pipelines/presets; for a preset of another package, the dotted path of the module."""
    summary: str
    """First paragraph of the docstring, as one line."""
    resolution: int | None
    """Finest image side in pixels, from the name `<data><resolution>_<method>`; None for other names."""
    command: str
    """First line: the training command. Further lines: the packing command, and variants."""
    expected: str
    """Expected results and where they are reported, as one line."""
    cost: str
    """Training images, and time if it is known, as one line."""
    status: str
    """Whether the preset has been run, as one line."""


def read(name: str, family: str, docstring: str) -> About:
    """Parse the docstring of the preset `name` in the module `family`."""
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
