"""The git commit of the running code, as checkpoints and `alae --version` name it."""

import subprocess
from pathlib import Path


def commit() -> str | None:
    """The full hash of the checkout that the code runs from; None outside a checkout or without git."""
    folder = Path(__file__).parent
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None
