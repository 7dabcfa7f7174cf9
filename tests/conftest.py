"""Fixtures that every test may use."""

import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.store", "tests.ranks", "tests.runs", "tests.packed", "tests.toy_run", "tests.attributes"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread, and sums do not depend on the machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    yield
