"""Runs commands in this process."""

import pytest
import ray

from pipelines.cli import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """Run a command that must fail before Ray starts, and return its standard error."""
    assert main.main(list(arguments)) == status
    told = capsys.readouterr()
    assert told.out == "" or arguments[0] == "train"  # its phases are lines
    assert "Traceback" not in told.out + told.err and told.err.count("\n") == 1
    assert not ray.is_initialized()
    return told.err
