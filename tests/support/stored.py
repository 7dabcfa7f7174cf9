"""Datasets and runs that an older commit wrote: tests/stored/README.md."""

import shutil
import zipfile
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parents[1] / "stored" / "commit_428dd70.zip"
PLACE = b"@STORED@"
"""Stands in the JSON files for the folder that holds them all."""
NEWEST = {"finished": "checkpoint_000000000480", "translator": "checkpoint_000000000160"}


def unpack(folder: Path) -> Path:
    """The stored files below `folder`, as if they had been written there."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        path.write_bytes(path.read_bytes().replace(PLACE, str(folder).encode()))
    for run, newest in NEWEST.items():
        # The best checkpoint was the newest one; its copy is not stored twice.
        shutil.copytree(folder / "runs" / run / newest, folder / "runs" / run / "best" / newest)
    return folder


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored files; not to be changed."""
    return unpack(tmp_path_factory.mktemp("stored"))
