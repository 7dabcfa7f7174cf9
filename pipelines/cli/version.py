"""`alae --version`: versions read from the installed packages' metadata, so that nothing heavy is imported."""

import platform
from importlib.metadata import PackageNotFoundError, version

from pipelines.runs.commit import commit

PACKAGES = ("torch", "ray", "mlflow")


def versions() -> str:
    """Two lines: alae with its commit, if it runs from a checkout; then Python and the packages it stands on."""
    own = commit()
    beside = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"alae {_version('alae')}{f', commit {own[:12]}' if own else ''}\nPython {platform.python_version()}, {beside}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
