"""`alae show`: every setting of an experiment by section, with its meaning and a mark where it is not the default."""

from dataclasses import MISSING
from itertools import groupby

from pipelines.cli.fields import Field, fields, first_sentence, written
from pipelines.cli.parser import fill, width
from pipelines.experiment import Experiment

MARK = "*"
LEGEND = (
    "* differs from the default, or has none. alae explain SETTING says more, --json prints all of it for machines."
)


def show(experiment: Experiment) -> str:
    """The settings of an experiment as text: a block per group, a line per setting with its value above its meaning."""
    known = fields({experiment.algorithm.kind: type(experiment.algorithm)})
    groups = {field.path: field.text for field in known if field.is_group}
    values = experiment.flatten()
    settings = [field for field in known if field.path in values and not field.is_group]
    blocks = [
        "\n".join([*_heading(section, groups), *(_setting(field, values[field.path]) for field in own)])
        for section, own in groupby(settings, lambda field: field.path.rpartition(".")[0])
    ]
    return "\n\n".join([*blocks, fill(LEGEND, width())])


def _heading(section: str, groups: dict[str, str]) -> list[str]:
    return [fill(f"[{section}] {first_sentence(groups.get(section, ''))}".strip(), width())] if section else []


def _setting(field: Field, value: object) -> str:
    mark = MARK if field.default is MISSING or written(field.default) != written(value) else " "
    usual = f" (default: {written(field.default)})" if mark == MARK and field.default is not MISSING else ""
    line = f"{mark} {field.name} = {written(value)}{usual}"
    text = "" if field.path == "algorithm.kind" else first_sentence(field.text)
    return "\n".join([line, *([fill(text, width(), " " * 6, " " * 6)] if text else [])])
