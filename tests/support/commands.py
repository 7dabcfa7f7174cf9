"""Commands in this process."""

import pytest
import ray

from pipelines.cli import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """Standard error of a command that fails before Ray starts."""
    assert main.main(list(arguments)) == status
    told = capsys.readouterr()
    assert told.out == "" and "Traceback" not in told.err and told.err.count("\n") == 1
    assert not ray.is_initialized()
    return told.err
