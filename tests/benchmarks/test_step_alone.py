"""The step benchmark on a bare machine: nothing but torch, what torch requires, and numpy can be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALONE = """
import runpy, sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

ALLOWED = {"alae_core", "benchmarks", "numpy", "torch", *sys.stdlib_module_names}
# What torch itself requires.
ALLOWED |= {"filelock", "fsspec", "functorch", "jinja2", "markupsafe", "mpmath", "networkx", "setuptools", "sympy"}
ALLOWED |= {"torchgen", "typing_extensions"}

class Bare:
    def find_spec(name, path=None, target=None):
        known = name.split(".")[0] in ALLOWED or name.startswith("_sysconfigdata")
        return PathFinder.find_spec(name, path, target) if known else None

sys.meta_path = [BuiltinImporter, FrozenImporter, Bare]
sys.argv[0] = "benchmarks.step"
runpy.run_module(MODULE, run_name="__main__")
"""
TINY = ["--resolutions", "8", "--batch", "2", "--base-channels", "4", "--max-channels", "8", "--latent", "6"]
ONCE = ["--iterations", "1", "--modes", "reference,fp32-eager-*"]


def alone(*options: str, module: str = "benchmarks.step") -> subprocess.CompletedProcess[str]:
    """A module as the main one, where only torch and numpy are there."""
    code = ALONE.replace("MODULE", repr(module))
    return subprocess.run(
        [sys.executable, "-c", code, *options], capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )


@pytest.mark.slow
def test_it_runs_where_only_torch_and_numpy_are_installed() -> None:
    done = alone(*TINY, *ONCE)
    assert done.returncode == 0, done.stderr
    assert "reference" in done.stdout and "fp32-eager-channels_last" in done.stdout


@pytest.mark.slow
def test_what_needs_more_fails_there() -> None:
    done = alone("--help", module="pipelines.cli")
    assert done.returncode != 0 and "ModuleNotFoundError" in done.stderr
