"""Selection of the files of a working directory that are uploaded to the cluster, and a check of their size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

# Patterns as in .gitignore, on top of the folder's own .gitignore and .rayignore, which Ray honours in every folder.
# A leading slash anchors a name: `pipelines/data` would be code, `/data` is images. Secrets are never uploaded with code.
DEFAULT_EXCLUDES: tuple[str, ...] = (
    ".git",
    ".venv",
    "venv",
    "/runs",
    "/data",
    "/datasets",
    "mlruns",
    "mlartifacts",
    "mlflow.db",
    "*.parquet",
    "*.egg-info",
    "*.pyc",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".env",
    "*.pem",
    "auth_token",
)


def sizes(working_dir: Path, excludes: tuple[str, ...]) -> dict[str, int]:
    """Bytes that Ray would upload, by top-level entry of `working_dir`."""
    # Ray's own walk, so that what is counted here is exactly what Ray packs.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    root = working_dir.absolute()
    counted: Counter[str] = Counter()

    def count(path: Path) -> None:
        if path.is_file():
            counted[path.relative_to(root).parts[0]] += path.stat().st_size

    _dir_travel(root, [_get_excludes(root, list(excludes))], count, include_gitignore=True)
    return dict(counted)


def upload_limit() -> int:
    """Upload limit of the dashboard in bytes: the smaller of Ray's two limits for a working directory."""
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    return int(min(DASHBOARD_CLIENT_MAX_SIZE, GCS_STORAGE_MAX_SIZE))


def check(working_dir: str, excludes: tuple[str, ...], limit: int | None = None) -> None:
    """Check that a working directory exists and has fewer than `limit` bytes (default: Ray's limit) to upload.

    Raises ValueError, with the three largest entries if it is too large.
    """
    root = Path(working_dir)
    if not root.is_dir():
        raise ValueError(f"--working-dir={working_dir} is not a folder; give the folder that holds the code to run")
    # The package is a zip without compression: its size is the sum of the files.
    counted = sizes(root, excludes)
    total, limit = sum(counted.values()), limit or upload_limit()
    if total >= limit:
        largest = sorted(counted.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{name} ({_mib(size)})" for name, size in largest)
        raise ValueError(
            f"--working-dir={working_dir} holds {_mib(total)} to upload and Ray accepts {_mib(limit)}; "
            f"the largest are {named}: name what the job does not need in .rayignore"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
