"""Files that a job uploads: those of the working directory, and our packages where the directory lacks them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# What `alae train` runs. A project of the user's own holds none of them, and the cluster may have another version.
PACKAGES = ("alae_core", "pipelines", "tuning", "cluster")
# A folder `data` or `runs` of these packages is code.
PACKAGE_EXCLUDES = ("__pycache__", "*.pyc")

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
    root = working_dir.absolute()
    counted: Counter[str] = Counter()
    for path in _travelling(root, excludes):
        counted[path.relative_to(root).parts[0]] += path.stat().st_size
    return dict(counted)


def _travelling(root: Path, excludes: tuple[str, ...]) -> Iterator[Path]:
    # Ray's own walk, so that what is listed here is exactly what Ray packs.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    found: list[Path] = []
    _dir_travel(root, [_get_excludes(root, list(excludes))], found.append, include_gitignore=True)
    return (path for path in found if path.is_file())


def packages(working_dir: str) -> list[str]:
    """Folders of the packages that `working_dir` lacks, as they are installed here, to be uploaded beside it."""
    if (Path(working_dir) / "pipelines").is_dir():
        return []
    found = [importlib.util.find_spec(name) for name in PACKAGES]
    return [next(iter(spec.submodule_search_locations)) for spec in found if spec and spec.submodule_search_locations]


def preset(text: str, working_dir: str, excludes: tuple[str, ...]) -> str:
    """The argument that names the same preset in the job: a file by its path within the working directory.

    Raises ValueError for a file that does not travel with it.
    """
    if not text.endswith((".py", ".json")) or "://" in text:
        return text
    root, path = Path(working_dir).resolve(), Path(text).expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"{text} is not there; give a preset's name or the path of a .py or .json file")
    if not path.is_relative_to(root):
        raise ValueError(
            f"{text} lies outside of --working-dir={working_dir}; give the folder that holds it and its code"
        )
    if path not in _travelling(root, excludes):
        raise ValueError(
            f"{text} does not travel with --working-dir={working_dir}: .gitignore, .rayignore or a folder for results leaves "
            "it out; copy it beside your code"
        )
    return path.relative_to(root).as_posix()


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
