"""`alae show`: readable by people; `--json` is covered by test_cli.py."""

from dataclasses import replace

import pytest

from pipelines import presets
from pipelines.cli import main
from pipelines.cli.fields import fields
from pipelines.cli.show import show
from tests.support.commands import refused


def test_every_setting_stands_in_its_section_once() -> None:
    experiment = presets.load("mnist32_style_alae")
    section, found = "", []
    for line in show(experiment).splitlines():
        if line.startswith("["):
            section = line[1 : line.index("]")] + "."
        elif " = " in line and line[1] == " " and line[2] != " ":
            found.append(section + line[2:].split(" = ")[0])
    assert sorted(found) == sorted(experiment.flatten())


def test_what_differs_from_the_default_is_marked_with_the_default_beside_it() -> None:
    experiment = replace(presets.load("mnist32_style_alae"), seed=4)
    lines = show(experiment).splitlines()
    assert "* seed = 4 (default: 0)" in lines and "* name = mnist32_style_alae" in lines
    assert "  storage = runs" in lines
    usual = {field.path: field.default for field in fields({"style_alae": type(experiment.algorithm)})}
    assert usual["schedule.fade"] == "cosine" and "  fade = cosine" in lines


def test_each_setting_is_followed_by_its_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = show(presets.load("mnist32_alae")).splitlines()
    assert lines[lines.index("  storage = runs") + 1].strip() == ("Folder or URL of the runs.")


@pytest.mark.parametrize("option", [["--name", "foo"], ["--name=foo"]])
def test_a_setting_written_as_an_option_is_answered_by_the_setting(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.main(["train", "debug_mnist32_alae", *option])
    assert "write it without dashes: name=foo" in capsys.readouterr().err


def test_a_setting_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "use 1, 2, 4 or 8" in refused(capsys, "show", "debug_mnist32_alae", "training.microbatch=3")
