"""The commit that checkpoints and `alae --version` name."""

import subprocess
from pathlib import Path

import pytest

from pipelines.runs.commit import commit


def test_the_commit_is_that_of_the_checkout() -> None:
    root = Path(__file__).parents[3]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    assert commit() == (head.stdout.strip() or None)


def test_without_git_there_is_no_commit_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert commit() is None
