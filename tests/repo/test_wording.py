"""The check of the project's English finds what is planted, passes what is meant, and the repository passes it."""

import pytest

from tests.repo import wording


def phrases(found: list[wording.Finding]) -> list[tuple[int, str]]:
    return [(finding.line, finding.phrase) for finding in found]


def test_the_repository_has_no_word_of_the_list() -> None:
    assert list(wording.findings(wording.files())) == []


def test_the_check_covers_the_core_and_leaves_out_records() -> None:
    covered = set(wording.files())
    assert {"alae_core/losses.py", "tuning/space.py", "cluster/submit.py", "benchmarks/step/__main__.py"} <= covered
    assert not [path for path in covered if path.startswith(wording.HISTORY)]


@pytest.mark.parametrize("first", wording.FIRST_WORDS)
def test_a_docstring_without_a_subject_is_found_wherever_it_stands(first: str) -> None:
    source = f'"""{first} the module."""\n\n\nclass A:\n    """{first} a class."""\n\n    x: int = 1\n    """{first} it."""\n'
    source += f'\n    def f(self) -> None:\n        """\n        {first} a method.\n        """\n'
    assert phrases(wording.in_python(source)) == [(1, first), (5, first), (8, first), (11, first)]


@pytest.mark.parametrize(
    ("planted", "phrase"),
    [
        ("the run told it", "told"),
        ("Tells the rate", "Tells"),
        ("mixed by chance", "by chance"),
        ("ALAE of perceptrons", "perceptrons"),
        ("an image comes of another", "comes of"),
        ("the image it came of", "came of"),
        ("codes are hardly apart", "hardly apart"),
        ("falls in a line to 0", "in a line to"),
    ],
)
def test_a_phrase_of_the_list_is_found_in_docstrings_comments_messages_and_prose(planted: str, phrase: str) -> None:
    message = f'def f(x: int) -> None:\n    raise ValueError(f"{{x}}: {planted}")\n'
    assert phrases(wording.in_python(f'"""The module: {planted}."""\n')) == [(1, phrase)]
    assert phrases(wording.in_python(f"x = 1\ny = 2  # {planted}\n")) == [(2, phrase)]
    assert phrases(wording.in_python(message)) == [(2, phrase)]
    assert phrases(wording.in_markdown(f"# Title\n\n{planted}\n")) == [(3, phrase)]


def test_a_phrase_broken_over_two_lines_is_found_at_its_first() -> None:
    assert phrases(wording.in_python("x = 1\n# mixed by\n# chance\n")) == [(2, "by chance")]
    assert phrases(wording.in_python('"""One.\n\nMixed by\n    chance.\n"""\n')) == [(3, "by chance")]
    assert phrases(wording.in_markdown("mixed by\nchance\n")) == [(1, "by chance")]


def test_names_code_and_longer_words_pass() -> None:
    assert wording.in_python('"""Whatever: offers, thatch, retold, `by_chance`."""\ntold = 1\n# untold\n') == []
    assert wording.in_python('x = "Of the reals"\n# What follows\n') == []  # neither is a docstring
    assert wording.in_markdown("Run `told` so:\n\n```\ntold\n```\n") == []


def test_a_finding_is_printed_with_its_place_and_better_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wording, "files", lambda: iter(["tests/repo/test_wording.py"]))
    assert wording.main() == 1
    assert "'by chance': write randomly" in capsys.readouterr().out
    monkeypatch.setattr(wording, "files", lambda: iter(()))
    assert wording.main() == 0
