"""Code of other packages: modules in a folder, and entry points; the test's end removes both from the process."""

import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import user_code
from pipelines.experiment import algorithms

ALGORITHM = """
from dataclasses import dataclass
from typing import Literal

from alae_core.algorithms import alae


@dataclass(frozen=True, kw_only=True)
class Config:
    kind: Literal["{kind}"] = "{kind}"
    resolution: int = 32
    channels: int = 1
    latent: int = 50
    sharpness: float = 1.0

    def build(self):
        return alae.Config(resolution=self.resolution, channels=self.channels, latent=self.latent).build()
"""

PRESET = '''
from dataclasses import replace

from pipelines import presets
from {module} import Config


def experiment():
    """Theirs, in one line.

    Cost:      nothing
    """
    ours = presets.load("mnist32_alae")
    return replace(ours, name="{name}", algorithm=Config(latent=9))
'''


@dataclass(frozen=True)
class Project:
    """A folder of foreign code, which is not on the import path at first."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        return path

    def algorithm(self, module: str, kind: str | None = None) -> Path:
        """Write a module with a Config at its dotted path; its kind is that path unless given."""
        for count in range(1, module.count(".") + 1):
            self.write(f"{'/'.join(module.split('.')[:count])}/__init__.py", "")
        return self.write(f"{module.replace('.', '/')}.py", ALGORITHM.format(kind=kind or module))

    def preset(self, file: str, module: str, name: str = "theirs") -> Path:
        return self.write(file, PRESET.format(module=module, name=name))

    def install(self, monkeypatch: pytest.MonkeyPatch, package: str, entry_points: str) -> None:
        """Make the folder a site-packages folder with one package that has these entry points."""
        self.write(f"{package}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        self.write(f"{package}-1.0.dist-info/entry_points.txt", entry_points)
        monkeypatch.syspath_prepend(str(self.folder))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An empty project; its modules are removed from sys.modules after the test."""
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(user_code, "_shared", [])
    monkeypatch.setattr(algorithms, "_outsiders", {})
    before = set(sys.modules)
    folder = tmp_path / "project"
    folder.mkdir()
    yield Project(folder)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
