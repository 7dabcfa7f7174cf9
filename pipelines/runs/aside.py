"""A run's folder moved aside to free its name: for `alae train --restart`, and after a start that reached no checkpoint."""

import fcntl
import json
from itertools import count
from pathlib import Path
from typing import IO, Literal

from pipelines import storage
from pipelines.runs import layout

_held: dict[Path, IO[str]] = {}
"""Locks of the runs that this process has started; the system releases them when it ends, however it ends."""

Holder = Literal["this process", "another process", "unknown"]


def hold(spool: Path, url: str) -> Holder:
    """Mark a run as trained by this process, until it ends, and return who trains it.

    "unknown" if its storage is an object store, or the folder takes no locks: other machines may then train it unseen.
    """
    path = spool.parent / layout.lock_name(spool.name)
    if path in _held:
        return "this process"
    if not storage.is_local(url):
        return "unknown"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError:
        return "unknown"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        return "another process" if isinstance(error, BlockingIOError) else "unknown"
    _held[path] = file
    return "this process"


def set_aside(url: str, spool: Path) -> str:
    """Move a run's folder, and its spool, to the first free address `<url>.1`, `<url>.2`, ..., and return that address.

    What is moved stays a run, named as its folder. The next run at `url` gets an MLflow run of its own.
    """
    number = next(n for n in count(1) if not storage.exists(f"{url}.{n}") and not _numbered(spool, n).exists())
    storage.move_tree(url, f"{url}.{number}")
    if spool.exists():
        spool.rename(_numbered(spool, number))
    spool.mkdir(parents=True)
    (spool / layout.TRACKING).write_text(json.dumps({"run_id": ""}) + "\n")
    return f"{url}.{number}"


def _numbered(spool: Path, number: int) -> Path:
    return spool.with_name(f"{spool.name}.{number}")
