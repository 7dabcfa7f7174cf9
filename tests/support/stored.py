"""Datasets and runs that an older commit wrote: tests/stored/README.md."""

import shutil
import zipfile
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parents[1] / "stored" / "commit_428dd70.zip"
PLACE = b"@STORED@"
"""Placeholder in the JSON files for the folder that contains them."""
NEWEST = {"finished": "checkpoint_000000000480", "translator": "checkpoint_000000000160"}


def unpack(folder: Path) -> Path:
    """Copy the stored files to `folder`, as if they had been written there."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        path.write_bytes(path.read_bytes().replace(PLACE, str(folder).encode()))
    for run, newest in NEWEST.items():
        # The best checkpoint equals the newest one and is stored once.
        shutil.copytree(folder / "runs" / run / newest, folder / "runs" / run / "best" / newest)
    return folder


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stored files; tests must not change them."""
    return unpack(tmp_path_factory.mktemp("stored"))
