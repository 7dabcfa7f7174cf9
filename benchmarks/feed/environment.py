"""Virtual environment of the other libraries, and a description of this machine and both environments."""

import json
import os
import platform
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import psutil

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
OURS = ("ray", "pyarrow", "imagecodecs", "numpy", "torch")
RIVALS = ("torch", "webdataset", "mosaicml-streaming", "pyarrow", "imagecodecs", "pillow", "numpy", "s3fs")


def interpreter(folder: Path) -> Path:
    """Python of the other libraries, in the virtual environment `folder`, which is created if it does not exist."""
    python = folder.resolve() / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    return python


def describe(rivals: Path) -> dict[str, str]:
    """Hardware, load and versions, for the header of the results."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "machine": f"{_processor()}, {os.cpu_count()} logical CPUs, {memory:.0f} GiB of memory",
        "load": f"load average before the run {os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "ours": ", ".join(f"{name} {version(name)}" for name in OURS),
        "rivals": ", ".join(f"{name} {found}" for name, found in _versions(rivals).items()),
        "command": " ".join(["python -m benchmarks.feed", *sys.argv[1:]]),
    }


def _versions(python: Path) -> dict[str, str]:
    program = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {RIVALS}}}))"
    return json.loads(subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
