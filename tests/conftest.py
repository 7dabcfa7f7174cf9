"""Fixtures that every test may use."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

pytest_plugins = ["tests.support.ranks"]
if find_spec("ray"):
    # tests/core, which needs none of them, also runs where Ray is not installed: `make core`.
    pytest_plugins += [
        "tests.support.store",
        "tests.support.runs",
        "tests.support.stored",
        "tests.support.packed",
        "tests.support.toy_run",
        "tests.support.attributes",
        "tests.support.outsider",
    ]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny tensors are fastest on one thread, and sums do not depend on the machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` runs two processes. Files stay whole; those that start Ray share a process, and so do those with a store."""
    starts = {mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in ("ray", "store")}
    for item in items:
        group = next((mark for mark, files in starts.items() if item.path in files), str(item.path))
        item.add_marker(pytest.mark.xdist_group(group))
