"""A name is free until a run has a checkpoint, or once its folder is moved aside; a run that trains is never moved."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import presets, storage
from pipelines.experiment.override import override
from pipelines.runs import aside
from pipelines.runs.run import Run

BASE = override(presets.load("debug_mnist32_alae"), ["name=run"])
OTHER = override(BASE, ["seed=3"])
PACKED: Any = (SimpleNamespace(identity={"train": "abc"}),)
TRAINING_ELSEWHERE = """
import sys
from pathlib import Path
from pipelines.runs.aside import hold
print(hold(Path(sys.argv[1]), sys.argv[1]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    while aside._held:
        aside._held.popitem()[1].close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(str(tmp_path / "run"))


@pytest.fixture
def trained_elsewhere(run: Run) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING_ELSEWHERE, run.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "this process\n"
        yield
        process.kill()


def checkpointed(run: Run) -> None:
    storage.write_json_verified(f"{run.url}/checkpoint_000000000032/manifest.json", {"nimg": 32})


def test_a_start_that_reached_no_checkpoint_leaves_the_name_to_other_settings(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.claim(BASE, PACKED)
    run.claim(OTHER, PACKED)
    assert run.experiment() == OTHER and Run(f"{run.url}.1").experiment().seed == BASE.seed
    assert (
        f"started with other settings: seed: 0 -> 3. It has no checkpoint, so it was moved to {run.url}.1"
        in caplog.text
    )
    run.claim(BASE, PACKED)
    assert run.experiment() == BASE and Run(f"{run.url}.2").experiment().seed == OTHER.seed


def test_a_start_on_another_dataset_is_moved_aside_too(run: Run) -> None:
    run.claim(BASE, PACKED)
    run.claim(BASE, (SimpleNamespace(identity={"train": "xyz"}),))  # type: ignore[arg-type]
    assert Run(f"{run.url}.1").experiment().seed == BASE.seed


def test_a_restart_moves_a_run_with_checkpoints_aside_as_a_whole(run: Run) -> None:
    assert run.restart() is None
    run.claim(BASE, PACKED)
    checkpointed(run)
    with pytest.raises(ValueError, match="or move this one aside with --restart"):
        run.claim(OTHER, PACKED)
    assert run.restart() == f"{run.url}.1"
    run.claim(OTHER, PACKED)
    assert storage.exists(f"{run.url}.1/checkpoint_000000000032/manifest.json")
    assert not storage.exists(f"{run.url}/checkpoint_000000000032")


def test_a_run_that_another_process_trains_is_never_moved(run: Run, trained_elsewhere: None) -> None:
    with pytest.raises(ValueError, match="another command is starting the run 'run'"):
        run.claim(BASE, PACKED)
    storage.write_bytes_verified(f"{run.url}/experiment.json", BASE.to_json().encode())
    run.claim(BASE, PACKED)
    with pytest.raises(
        ValueError, match=r"seed: 0 -> 3\. It has no checkpoint yet: --restart moves it aside, once no other"
    ):
        run.claim(OTHER, PACKED)
    with pytest.raises(ValueError, match=r"another command is training the run in .*; stop it before --restart"):
        run.restart()
    assert run.experiment() == BASE


def test_a_folder_moves_at_a_store_as_on_a_disk() -> None:
    storage.write_bytes_verified("memory://bucket/runs/a/deep/file", b"content")
    storage.move_tree("memory://bucket/runs/a", "memory://bucket/runs/a.1")
    assert storage.list_files("memory://bucket/runs/a.1") == {"deep/file": 7}
    assert storage.list_files("memory://bucket/runs/a") == {}
