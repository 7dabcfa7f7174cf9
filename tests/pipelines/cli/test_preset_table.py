"""`alae presets`: a table that fits the terminal, and the same as JSON."""

import json
import os
import re
import subprocess
import sys

import pytest

from pipelines import presets
from pipelines.cli import main
from pipelines.cli.preset_table import table
from pipelines.presets.lookup.about import About

VAE = About(
    "x64_vae",
    "vaes",
    "A VAE.",
    64,
    "alae train x64_vae",
    "?",
    "not yet measured; 1.5 million images. More",
    "run, once",
)
OTHER = About(
    "own", "mine", "A preset whose summary is long enough to need two lines of a table.", None, "", "", "", ""
)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.main(list(arguments)) == 0
    return capsys.readouterr().out


def rows(lines: list[str]) -> dict[str, str]:
    """Rows of the table by their first word, without the text below the table."""
    return {line.split()[0]: line for line in lines if re.match(r"  \S", line)}


def test_a_row_has_name_side_images_and_status_and_its_family_stands_above() -> None:
    lines = table([VAE, OTHER], columns=80).splitlines()
    assert lines[:6] == [
        "  name     px       images  status  what it is",
        "",
        "vaes",
        "  x64_vae  64  1.5 million  run     A VAE.",
        "",
        "mine",
    ]


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_table_of_all_presets_fits_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed(capsys, "presets").splitlines()
    assert max(map(len, lines)) <= columns
    assert sorted(rows(lines)) == sorted(["name", *presets.names()])
    assert ("what it is" in lines[0]) == (columns > 80)
    assert any(line.startswith("debug_NAME ") for line in lines) and any(
        line.startswith("NAME_compat ") for line in lines
    )


def test_a_cost_that_refers_to_another_preset_shows_that_ones_images(capsys: pytest.CaptureFixture[str]) -> None:
    shown = rows(printed(capsys, "presets").splitlines())
    assert presets.about("horse2zebra256_nice_gan").cost == "as cat2dog256_nice_gan"
    assert all("300 thousand" in shown[name] for name in ("horse2zebra256_nice_gan", "cat2dog256_nice_gan"))


def test_the_json_has_the_full_texts(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {row["name"]: row for row in json.loads(printed(capsys, "presets", "--json"))}
    assert sorted(listed) == presets.names()
    about = presets.about("mnist32_style_alae")
    assert listed["mnist32_style_alae"]["command"] == about.command and about.cost in str(listed)


def test_a_reader_that_leaves_ends_the_command_without_a_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "presets", "--json"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
