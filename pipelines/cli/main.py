"""`alae ...`: parses, calls, reports errors. Each command's module imports what it needs only when the command runs."""

import argparse
import errno
import os
import select
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

from pipelines.cli import data, overview, results, review, signals, training, use
from pipelines.cli.parser import Parser

COMMANDS = "alae.commands"
"""Entry points of other packages: functions that add a command to the subparsers they are given."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; an error is one sentence on stderr and exit status 2 (the user can correct it) or 1.

    Without a command it prints the overview and returns 2.
    """
    outer = parser()
    parsed = outer.parse_args(arguments)
    if parsed.version:
        from pipelines.cli.version import versions

        print(versions())
        return 0
    if parsed.command is None:
        print(outer.format_help(), end="")
        return 2
    return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    return reported(f"alae {parsed.command}", lambda: parsed.func(parsed))


def reported(name: str, command: Callable[[], int | None]) -> int:
    """Run a command and return its exit status; an error or a signal is one sentence on stderr, after its name."""
    try:
        with signals.handled():
            return command() or 0
    except ValueError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        if not _reader_left():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes as it ends
        return 141  # 128 + SIGPIPE, as of a process that the signal ends
    except OSError as error:
        if error.errno is None:
            raise
        print(f"{name}: {_fault(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"{name}: {str(error) or 'stopped'}", file=sys.stderr)
        return signals.status()


def _fault(error: OSError) -> str:
    """The fault of a disk or file, such as a full or a read-only one, with its place and a way out."""
    place = f"{error.filename}: " if error.filename else ""
    ways = {
        errno.ENOSPC: "free some space, or name another folder",
        errno.EDQUOT: "free some space, or name another folder",
        errno.EROFS: "name a folder that can be written to",
        errno.EACCES: "this user may not read or write there; name another folder or change its permissions",
    }
    return f"{place}{error.strerror}" + (f"; {ways[error.errno]}" if error.errno in ways else "")


def _reader_left() -> bool:
    """Whether nobody reads standard output any more, as in `alae presets | head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


class _Alae(Parser):
    """The outer parser, whose help is the overview."""

    def format_help(self) -> str:
        return overview.text(self._subparsers._group_actions[0])  # type: ignore[union-attr, arg-type]


def parser() -> argparse.ArgumentParser:
    """The parser of all commands, those of other packages included."""
    outer = _Alae(prog="alae")
    outer.add_argument("--version", action="store_true")
    commands = outer.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for module in (data, training, results, review, use):
        module.add(commands)
    for point in entry_points(group=COMMANDS):
        point.load()(commands)
    return outer
