"""Help of `alae` and of each command: fast, narrow, and with valid examples."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from pipelines.cli import main
from pipelines.cli.overview import GROUPS, OTHER
from tests.repo.wording import in_markdown

HEAVY = ("torch", "ray", "mlflow", "pyarrow", "numpy", "pydantic", "PIL")
DIALECT = re.compile(r"\b(tell|perceptron|hardly|shall)\b", re.IGNORECASE)


def commands(parser: argparse.ArgumentParser, *path: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command with its parser, including nested ones: "data", "data show", ..."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield " ".join((*path, name)), inner
                yield from commands(inner, *path, name)


NAMES = [name for name, _ in commands(main.parser())]


def help_of(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return dict(commands(main.parser()))[name].format_help()


def examples(text: str) -> list[str]:
    """Command lines below "example:"; a backslash continues a line."""
    return text.partition("\nexample:\n")[2].replace("\\\n", "").strip().splitlines()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_presets_and_version_import_nothing_that_takes_seconds() -> None:
    code = f"""
import contextlib, io, sys
from pipelines.cli.main import main
for arguments in {[["--help"], ["--version"], ["presets"], *([*name.split(), "--help"] for name in NAMES)]}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(arguments)
print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("name", NAMES)
def test_help_fits_the_terminal_and_100_columns(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = help_of(name, columns, monkeypatch).splitlines()
    assert max(map(len, lines)) <= min(columns, 100)


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_examples_that_are_commands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = examples(help_of(name, 80, monkeypatch))
    assert shown
    for line in shown:
        program, *arguments = shlex.split(line)
        assert program == "alae" and " ".join(arguments).startswith(name)
        assert callable(main.parser().parse_args(arguments).func)


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_every_argument_is_in_plain_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = dict(commands(main.parser()))[name]
    assert [action.dest for action in parser._actions if not action.help and action.metavar != "show|verify"] == []
    text = help_of(name, 100, monkeypatch)
    assert DIALECT.search(text) is None and in_markdown(text) == []


def test_the_overview_has_one_line_for_each_command_below_what_it_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = printed(capsys, "--help")
    assert max(map(len, text.splitlines())) <= 80 and DIALECT.search(text) is None and in_markdown(text) == []
    blocks = {block[0]: block[1:] for block in (part.splitlines() for part in text.split("\n\n"))}
    listed = {group: [line.split()[0] for line in blocks[group]] for group in GROUPS}
    assert sorted(name for names in listed.values() for name in names) == sorted(
        name for name in NAMES if " " not in name
    )
    assert listed["Prepare images"] == ["pack", "data"] and listed["Train"] == ["train", "change"]
    assert listed["Search for better settings"] == ["tune"] and listed["Run on a cluster"] == ["submit"]
    for line in blocks["Start here"]:
        main.parser().parse_args(shlex.split(line.split("   ")[0])[1:])


def test_alae_alone_prints_the_overview_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    overview = printed(capsys, "--help")
    assert main.main([]) == 2
    assert capsys.readouterr().out == overview


def test_a_command_of_another_package_is_listed_and_gets_the_same_plain_errors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        subparsers.add_parser("paint", help="paint").add_argument("--colour")

    monkeypatch.setattr(main, "entry_points", lambda group: [SimpleNamespace(load=lambda: add)])
    assert f"\n\n{OTHER}\n  paint       paint\n\n" in printed(capsys, "--help")
    with pytest.raises(SystemExit):
        main.main(["paint", "--color", "red"])
    assert capsys.readouterr().err == "alae paint: --color is not an option; did you mean --colour?\n"


def test_version_names_alae_its_commit_and_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"alae \d+\.\d+\.\d+(, commit [0-9a-f]{12})?", first)
    assert re.fullmatch(r"Python 3\.\d+\.\d+, torch 2\.\S+, ray 2\.\S+, mlflow 3\.\S+", second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "alae: trian is not a command; did you mean alae train?"),
        ("xyz", "alae: xyz is not a command; alae --help lists them"),
        ("--verison", "alae: --verison is not an option; did you mean --version?"),
        ("train", "alae train: PRESET is missing; alae train --help shows an example"),
        (
            "train x --seed=4",
            "alae train: --seed is not an option; if it is a setting, write it without dashes: seed=4",
        ),
        ("tune x --tirals 4", "alae tune: --tirals is not an option; did you mean --trials?"),
        ("tune x --trials 4 seed=3", "alae tune: seed=3 belongs before the options; alae tune --help shows an example"),
        ("presets x", "alae presets: x is one argument too many; alae presets --help shows an example"),
        ("data", "alae data: show|verify is missing; alae data --help shows an example"),
        ("data shw x", "alae data: shw is not a command; did you mean alae data show?"),
        ("pack a b --channels 2", "alae pack: --channels=2 must be one of 1, 3"),
    ],
)
def test_a_mistake_is_answered_in_one_line_with_the_right_form(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(arguments.split())
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"{message}\n")
