"""The project's English: words that a stranger would stumble over, and what to write instead.

Reads docstrings, comments and strings of Python files and the prose of Markdown files. Run by `make check`:
`python -m tests.repo.wording` prints each finding and exits with 1 if there is one.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

HISTORY = ("dev/LOG.md", "CHANGELOG.md")
"""Records that stay as they were written."""
OWN = ("tests/repo/wording.py", "tests/repo/test_wording.py")
"""These files name the words."""

FIRST_WORDS = ("Of", "What", "That")
"""A docstring that begins with one of them is a fragment without a subject."""
PHRASES = {
    r"told|tells": "reports, says or distinguishes",
    r"by chance": "randomly",
    r"perceptrons": "MLPs",
    r"(?:comes?|came|coming) of": "comes from, or results from",
    r"hardly apart": "hardly distinguishes",
    r"in a line to": "linearly to",
}
"""Pattern of whole words in any case -> better words."""

_PATTERNS = {
    re.compile(rf"\b(?:{phrase})\b".replace(" ", r"\s+"), re.IGNORECASE): better for phrase, better in PHRASES.items()
}
_FENCE = re.compile(r"^ *(```|~~~)")
_CODE = re.compile(r"`[^`]*`")


class Finding(NamedTuple):
    """A phrase to replace, at a line counted from 1."""

    line: int
    phrase: str
    better: str


def in_python(source: str) -> list[Finding]:
    """Findings in the docstrings (also those of attributes), comments and strings of Python source, by line."""
    tree = ast.parse(source)
    found = [finding for line, text in _strings(tree) for finding in _in_prose(line, text)]
    found += [finding for line, text in _comments(source) for finding in _in_prose(line, text)]
    found += [
        Finding(line, first[1], "a sentence with a subject, or a noun phrase")
        for line, text in _docstrings(tree)
        if (first := re.match(rf"\s*({'|'.join(FIRST_WORDS)})\b", text))
    ]
    return sorted(found)


def in_markdown(text: str) -> list[Finding]:
    """Findings in the prose of a Markdown file; fenced blocks are code."""
    prose, fenced = [], False
    for line in text.splitlines():
        fence = _FENCE.match(line) is not None
        prose.append("" if fenced or fence else line)
        fenced ^= fence
    return sorted(_in_prose(1, "\n".join(prose)))


def files() -> Iterator[str]:
    """Python and Markdown files of the repository, by their paths from its root, less those that are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    left_out = (*HISTORY, *OWN)
    yield from (path for path in sorted(set(listed)) if not path.startswith(left_out) and (ROOT / path).is_file())


def findings(paths: Iterable[str]) -> Iterator[str]:
    """One line a finding: path, line, phrase and better words."""
    for path in paths:
        text = (ROOT / path).read_text()
        for finding in in_python(text) if path.endswith(".py") else in_markdown(text):
            yield f"{path}:{finding.line}: {finding.phrase!r}: write {finding.better}"


def _in_prose(line: int, text: str) -> Iterator[Finding]:
    """Findings in a text that begins at a line, less what stands in backticks; a phrase may run over the end of a line."""
    prose = _CODE.sub(lambda code: re.sub(r"[^\n]", "_", code[0]), text)
    for pattern, better in _PATTERNS.items():
        for match in pattern.finditer(prose):
            yield Finding(line + text.count("\n", 0, match.start()), " ".join(match[0].split()), better)


def _docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments with their lines; those of consecutive lines are one text."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = [(t.start[0], t.string.lstrip("#")) for t in tokens if t.type == tokenize.COMMENT]
    for _, block in groupby(enumerate(lines), lambda pair: pair[1][0] - pair[0]):
        members = [comment for _, comment in block]
        yield members[0][0], "\n".join(text for _, text in members)


def main() -> int:
    """Print the findings of the whole repository; 1 if there are any."""
    found = list(findings(files()))
    print("\n".join(found) or "wording: nothing to replace")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
