"""The command line's parser: help that fits the terminal, and every mistake answered in one line with the nearest right form."""

import argparse
import difflib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

MAX_WIDTH = 100
SETTING = "a.b=c"
MISSING = "the following arguments are required: "
"""How argparse begins its message about arguments that are not there."""

Commands = argparse._SubParsersAction
"""The commands of a parser; `add_parser` adds one."""


def width() -> int:
    """Columns that help may fill: the terminal's, at most 100."""
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)


def fill(text: str, columns: int, first: str = "", rest: str = "") -> str:
    """The text wrapped to `columns`, with `first` before its first line and `rest` before the others."""
    return textwrap.fill(text, columns, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like `word`, or None if none is near."""
    found = difflib.get_close_matches(word, list(known), 1)
    return found[0] if found else None


class Formatter(argparse.HelpFormatter):
    """Wraps paragraphs to the terminal and leaves indented lines, such as examples, as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=width() - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(line if line.startswith(" ") else fill(line, width) for line in lines)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with the nearest right form, and end with status 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **options})
        self._positionals.title = "arguments"

    def error(self, message: str) -> NoReturn:
        if message.startswith(MISSING):
            message = f"{message.removeprefix(MISSING)} is missing; {self.prog} --help shows an example"
        self.exit(2, f"{self.prog}: {message}\n")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def, override]
        # Each command's parser refuses what it does not know itself: the outer one could not say what is near.
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            words = sys.argv[1:] if args is None else list(args)
            self.error(self._unknown(unknown[0], words[words.index(unknown[0]) + 1 :]))
        return parsed, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if not isinstance(action, Commands):
            known = ", ".join(map(str, action.choices))
            self.error(f"{'/'.join(action.option_strings) or action.metavar}={value} must be one of {known}")
        near = nearest(value, action.choices)
        guess = f"did you mean {self.prog} {near}?" if near else f"{self.prog} --help lists them"
        self.error(f"{value} is not a command; {guess}")

    def _unknown(self, text: str, after: Sequence[str]) -> str:
        """Why an argument, before those `after` it, cannot stand where it does."""
        if not text.startswith("-"):
            several = any(action.nargs in ("*", "+") for action in self._actions if not action.option_strings)
            place = "belongs before the options" if several else "is one argument too many"
            return f"{text} {place}; {self.prog} --help shows an example"
        option, _, value = text.partition("=")
        near = nearest(option, self._option_string_actions)
        if near:
            return f"{option} is not an option; did you mean {near}?"
        if any(action.metavar == SETTING for action in self._actions):
            value = value or next((word for word in after[:1] if not word.startswith("-") and "=" not in word), "VALUE")
            setting = f"{option.lstrip('-')}={value}"
            return f"{option} is not an option; if it is a setting, write it without dashes: {setting}"
        return f"{option} is not an option; {self.prog} --help lists them"


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None] | None,
    *,
    help: str,
    example: str,
    group: str | None = None,
    more: str = "",
) -> argparse.ArgumentParser:
    """Add a command: `help` is its line in the overview, `more` follows it above the options, `example` stands below them."""
    sentence = f"{help[0].upper()}{help[1:]}."
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{sentence} {more}".strip(),
        epilog=f"example:\n{textwrap.indent(example, '  ')}",
    )
    parser.set_defaults(func=run, group=group)
    return parser


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Add the two arguments that name an experiment: a preset and its changed settings."""
    parser.add_argument(
        "preset",
        metavar="PRESET",
        help="a preset's name (alae presets lists them), a .py file, or a .json file or URL",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar=SETTING,
        help="changed settings, such as training.tick_kimg=2; see alae explain",
    )
