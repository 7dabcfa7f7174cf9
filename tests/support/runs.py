"""Real training runs as a user starts them: `alae train` in a process of its own, which can be killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
import torch

from pipelines.data.pack.pack import pack
from pipelines.runs import checkpoint
from pipelines.runs.evaluations import list_evaluations, read_evaluation
from pipelines.runs.history import Tick, read_history
from pipelines.runs.run import Run

PATIENCE_S = 240.0
# Fields of a run's history that depend on the clock and the machine.
UNREPEATABLE = ("time/", "memory/", "system/")

OVERRIDES = (
    "scaling.workers=2",
    "scaling.cpus_per_worker=0.5",
    "scaling.cpus_per_data_task=0.5",
    "scaling.cpus_per_evaluation=0.25",
    "training.checkpoint_ticks=2",
    "evaluation.extractor=pixels",
    "evaluation.samples=32",
    "evaluation.reconstructions=16",
)


@contextmanager
def local_ray(num_cpus: int = 2) -> Iterator[None]:
    """Start Ray in this process."""
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def prompt_ray() -> Iterator[None]:
    """Start Ray in this process with a controller that polls its workers often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        with local_ray():
            yield


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 random 8x8 images in two classes, in uneven row groups: an epoch ends within a level."""
    folder = tmp_path_factory.mktemp("tiny")
    noise = np.random.default_rng(0)
    np.savez(
        folder / "images.npz",
        images=noise.integers(0, 256, (200, 8, 8), dtype=np.uint8),
        labels=noise.integers(0, 2, 200),
    )
    pack(str(folder / "images.npz"), str(folder / "packed"), resolution=8, rows_per_group=48, rows_per_shard=96)
    return folder / "packed"


@dataclass
class Command:
    """An `alae train` command and its processes."""

    storage: str
    name: str
    dataset: str
    overrides: tuple[str, ...] = OVERRIDES
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    process: subprocess.Popen[str] | None = None

    @property
    def run(self) -> Run:
        return Run(f"{self.storage}/{self.name}")

    def start(self) -> "Command":
        where = (f"name={self.name}", f"training.storage={self.storage}", f"data.path={self.dataset}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "train", "debug_mnist32_style_alae", *where, *self.overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.cwd,
            env={**os.environ, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", **self.env},
            start_new_session=True,
        )
        return self

    def finish(self) -> str:
        """Wait for the end and return the output; fails with it if the command failed."""
        assert self.process is not None
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, output
        return output

    def wait_for(self, nimg: int, history: Path) -> None:
        """Wait until the history has reached `nimg` images."""
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE_S
        while not any(tick.nimg >= nimg for tick in read_history(history)[0]):
            assert time.monotonic() < deadline, f"no tick at {nimg}"
            assert self.process.poll() is None, f"ended before {nimg}: {self.process.communicate()[0]}"
            time.sleep(0.02)

    def kill_worker(self) -> None:
        """Send SIGKILL to one of the training processes as soon as there are any."""
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE_S
        while not (workers := train_workers(self.process.pid)):
            assert time.monotonic() < deadline, [_cmdline(p) for p in self.descendants()]
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.02)
        os.kill(random.choice(workers).pid, signal.SIGKILL)

    def kill_driver(self) -> None:
        """Send SIGKILL to the command and all its processes, as if the machine failed."""
        assert self.process is not None
        processes = self.descendants()
        self.process.kill()
        for process in processes:
            _ignoring_gone(process.kill)
        psutil.wait_procs(processes, timeout=30)
        self.process.wait()

    def descendants(self) -> list[psutil.Process]:
        assert self.process is not None
        return _descendants(self.process.pid)


@pytest.fixture
def commands() -> Iterator[Callable[..., Command]]:
    """Factory of commands, which kills their remaining processes at the end."""
    made: list[Command] = []

    def make(**settings: Any) -> Command:
        made.append(Command(**settings))
        return made[-1]

    yield make
    for command in made:
        if command.process is not None and command.process.poll() is None:
            command.kill_driver()


def final_state(run: Run) -> dict[str, Any]:
    """Return every tensor and counter of the newest checkpoint."""
    newest = checkpoint.latest(run.url)
    assert newest is not None
    return checkpoint.read_state(newest.url)


def repeatable(history: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the history without the fields that depend on the clock and the machine."""

    def kept(tick: Tick) -> dict[str, Any]:
        return {name: value for name, value in tick.metrics.items() if not name.startswith(UNREPEATABLE)}

    return [(tick.nimg, kept(tick)) for tick in read_history(history)[0]]


def evaluations(run: Run) -> list[tuple[int, dict[str, Any]]]:
    """Return the evaluations of all checkpoints without their durations."""
    found = [read_evaluation(run.url, path) for path in list_evaluations(run.url)]
    return [(e.nimg, {k: v for k, v in e.metrics.items() if k != "eval/seconds"}) for e in found]


def differing(left: Any, right: Any, path: str = "") -> list[str]:
    """The paths at which two nested structures are not bit-identical; `seconds` is a clock."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted(left.keys() | right.keys(), key=str)
        return [bad for key in keys for bad in differing(left.get(key), right.get(key), f"{path}/{key}")]
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        same = left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
        return [] if same else [path]
    return [] if left == right or path == "/seconds" else [path]


def train_workers(pid: int) -> list[psutil.Process]:
    """Return the training processes among the descendants of a process."""
    return [process for process in _descendants(pid) if "TrainWorker" in " ".join(_cmdline(process))]


def _descendants(pid: int) -> list[psutil.Process]:
    return _ignoring_gone(lambda: psutil.Process(pid).children(recursive=True)) or []


def _cmdline(process: psutil.Process) -> list[str]:
    return _ignoring_gone(process.cmdline) or []


def _ignoring_gone(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except psutil.NoSuchProcess:
        return None
