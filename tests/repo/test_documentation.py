"""The documentation does not drift: its links, commands, presets, make targets and paths are those of the code."""

import argparse
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NoReturn

import pytest

from alae_core.algorithms import CONFIGS
from pipelines import presets
from pipelines.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)|<(?:img|a)[^>]*(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.M | re.S)
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
KINDS = "|".join(sorted([*CONFIGS, "vae"], key=len, reverse=True))
PRESET = re.compile(rf"(?<![\w/.-])((?:debug_)?[a-z]+[a-z0-9]*\d{{2,4}}_(?:{KINDS})[a-z_]*)(?![\w.*<-])")
PATH = re.compile(r"^(?:tests|alae_core|pipelines|tuning|cluster|benchmarks|docs)/[\w./-]+$")
MAKE = re.compile(r"\bmake ((?:[\w./-]+=\S+ )*)([\w./-]+)")
LOG = ("CHANGELOG.md",)
"""Pages that say how things were called in their day."""

EXAMPLES = {"alae_core/algorithms/plain.py", "pipelines/presets/mnist32_plain.py"}
"""Files that the reader of a page is to write."""


def pages(*, current: bool = False) -> Iterator[tuple[str, str]]:
    """Name and text of each page; the `current` ones speak of today."""
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        if not (current and name in LOG):
            yield name, page.read_text()


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (numbered := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(numbered)
    return found


def broken_links(name: str, text: str, root: Path = ROOT) -> Iterator[str]:
    """Relative links to files or headings that are not there."""
    for groups in LINK.findall(FENCE.sub("", text)):
        target = next(filter(None, groups))
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (root / name).parent / path if path else root / name
        if path and not file.exists():
            yield f"{name}: {target} is not there"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text() if path else text):
            yield f"{name}: {target} has no such heading"


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """The `alae ...` commands of a page, and whether each stands in a block, where it must be complete."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(alae [a-z]+(?!\w|:).*)", line.strip()):
                yield match[1], True
    for span in SPAN.findall(FENCE.sub("", text)):
        if re.match(r"alae [a-z]+(?!\w|:)", span):
            yield span, False


class ParsedError(Exception):
    """The command line was understood."""


def refused(command: str, complete: bool) -> str:
    """How the real parser refuses a command; "" where it takes it. Nothing is executed."""

    def parse_args(self: argparse.ArgumentParser, *arguments: Any, **options: Any) -> NoReturn:
        understand(self, *arguments, **options)
        raise ParsedError

    understand = argparse.ArgumentParser.parse_args
    words = [_filled(word) for word in shlex.split(re.sub(r"[\[\]]", "", command), comments=True)[1:]]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stderr(said):
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        try:
            main.main(words)
        except ParsedError:
            return ""
        except SystemExit:
            fragment = not complete and re.search("required|is missing", said.getvalue())
            return "" if fragment else f"{command}: {said.getvalue().strip().splitlines()[-1]}"
    raise AssertionError("the command line was not parsed by parse_args")


def _filled(word: str) -> str:
    """A placeholder for a number as a number."""
    return "1" if re.fullmatch(r"[A-Z]", word) else word


def unknown_presets(text: str) -> Iterator[str]:
    """Names of the form of a preset that no preset has."""
    for name in sorted(set(PRESET.findall(LINK.sub("", text)))):
        try:
            presets.load(name)
        except ValueError as error:
            yield str(error)


def unknown_targets(text: str) -> Iterator[str]:
    """Targets of `make X` that the Makefile does not have."""
    known = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.M))
    said = [
        *SPAN.findall(FENCE.sub("", text)),
        *(line.strip() for block in FENCE.findall(text) for line in block.splitlines()),
    ]
    for line in said:
        if line.startswith("make ") and (match := MAKE.match(line)) and match[2] not in known:
            yield match[0]


def missing_paths(text: str) -> Iterator[str]:
    """Paths of this repository in code spans that are not there."""
    for span in SPAN.findall(FENCE.sub("", text)):
        if PATH.match(span) and span not in EXAMPLES and not (ROOT / span).exists():
            yield span


def test_links_between_pages_and_to_headings_lead_somewhere() -> None:
    assert [broken for name, text in pages() for broken in broken_links(name, text)] == []


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One two: `three`\n")
    good = "[a](there.md#one-two-three) [d](#here) [e](https://x.y/z)\n# Here\n"
    text = f'{good}[b](gone.md) <img src="gone.png"> [c](there.md#four)'
    found = list(broken_links("page.md", text, tmp_path))
    assert [each.split()[1] for each in found] == ["gone.md", "gone.png", "there.md#four"]


def test_every_command_is_one_that_the_parser_takes() -> None:
    found = [(name, *command) for name, text in pages(current=True) for command in commands(text)]
    assert len(found) > 50
    assert [f"{name}: {said}" for name, *command in found if (said := refused(*command))] == []


@pytest.mark.parametrize(
    ("command", "complete"),
    [
        ("alae teach x", True),
        ("alae train", True),
        ("alae runs --by fid", False),
        ("alae evaluate r --samples few", False),
    ],
)
def test_a_command_that_the_parser_refuses_is_found(command: str, complete: bool) -> None:
    assert list(commands(f"```\n{command}  # a comment\n```" if complete else f"see `{command}`")) != []
    assert refused(command, complete) != ""


def test_every_preset_that_is_named_exists() -> None:
    named = {name for _, text in pages(current=True) for name in PRESET.findall(text)}
    assert {"mnist32_style_alae", "ffhq1024_stylegan_a"} <= named
    assert [f"{name}: {unknown}" for name, text in pages(current=True) for unknown in unknown_presets(text)] == []


def test_a_preset_that_does_not_exist_is_found() -> None:
    assert len(list(unknown_presets("`mnist32_stylegan3` `mnist64_alae` debug_ffhq1024_munit and `mnist32_alae`"))) == 2


def test_every_target_of_make_exists() -> None:
    assert [f"{name}: {target}" for name, text in pages(current=True) for target in unknown_targets(text)] == []
    assert list(unknown_targets("`make everything`\n```\nmake nothing  # at all\nmake test\n```")) == [
        "make everything",
        "make nothing",
    ]


def test_every_path_that_is_named_exists() -> None:
    assert [f"{name}: {path}" for name, text in pages(current=True) for path in missing_paths(text)] == []
    assert list(missing_paths("`tests/test_gone.py` and `tests/conftest.py`")) == ["tests/test_gone.py"]


def listed(readme: str) -> list[str]:
    """The folders of README's tree, by their paths."""
    block = next(block for block in FENCE.findall(readme) if block.startswith("alae_core/"))
    found: list[str] = []
    parent = ""
    for line in block.splitlines():
        names = re.findall(r"([\w.]+)/", re.split(r" {3,}", line.strip())[0])
        if not line.startswith(" "):
            parent = names[0]
        found += [f"{parent}/{name}" if line.startswith(" ") else name for name in names]
    return found


def test_the_tree_in_the_readme_is_that_of_the_repository() -> None:
    shown = listed((ROOT / "README.md").read_text())
    assert [path for path in shown if not (ROOT / path).is_dir()] == []
    rooms = [f"pipelines/{folder.parent.name}" for folder in (ROOT / "pipelines").glob("*/__init__.py")]
    packages = ["alae_core", "pipelines", "tuning", "cluster", "benchmarks", "tests"]
    assert sorted({*rooms, *packages} - {*shown}) == []
