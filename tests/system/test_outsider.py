"""docs/your_own.md step by step: a project outside the repository is trained, resumed, evaluated, tuned and submitted.

Files and commands are those of the page, except `mnist5k` and the addresses.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines import presets, storage
from pipelines.runs import checkpoint
from pipelines.runs.evaluations import read_evaluations
from pipelines.runs.run import Run
from tests.support.outsider import Project
from tests.support.ray_head import running_head
from tests.support.runs import PATIENCE_S, Command, differing, final_state
from tests.support.store import both_stores

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The current folder is not on Python's path, as for the console script `alae`.
ALAE = (sys.executable, "-P", "-m", "pipelines.cli")

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall((ROOT / "docs" / page).read_text()) if kind == language]


def typed(command: str) -> str:
    """Arguments of the page's command line with this beginning."""
    lines = [line for block in blocks("your_own.md", "bash") for line in block.splitlines()]
    (found,) = [line for line in lines if line.startswith(f"alae {command}")]
    return found.removeprefix("alae ")


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"PYTHONPATH": str(ROOT), "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


@dataclass(frozen=True)
class Mine:
    """Folder of the project."""

    folder: Path

    def alae(self, line: str, cwd: Path | None = None, **variables: str) -> str:
        """Run a command in the project's folder, and return its output."""
        done = subprocess.run(
            [*ALAE, *shlex.split(line)],
            cwd=cwd or self.folder,
            env=environment() | variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(self, name: str) -> Run:
        return Run(str(self.folder / "runs" / name))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Mine:
    """Write the two files of the page, and pack its dataset."""
    folder = tmp_path_factory.mktemp("outsider") / "my_project"
    folder.mkdir()
    (algorithm,) = [text for text in blocks("algorithms.md", "python") if "class Config" in text]
    (preset,) = blocks("your_own.md", "python")
    (folder / "plain.py").write_text(algorithm)
    (folder / "my_preset.py").write_text(preset)
    project = Mine(folder)
    project.alae(typed("pack"))
    return project


@pytest.fixture(scope="module")
def trained(mine: Mine) -> Run:
    """Train the run of the page to its end."""
    assert "kind = plain" in mine.alae(typed("show"))
    mine.alae(typed("train my_preset.py"))
    return mine.run("mnist32_plain")


def test_two_workers_train_it_to_the_end_and_it_is_measured(trained: Run) -> None:
    newest = checkpoint.latest(trained.url)
    assert newest is not None and newest.nimg == 24_000
    manifest = checkpoint.read_manifest(newest.url)["experiment"]
    assert manifest["algorithm"]["kind"] == "plain" and manifest["scaling"]["workers"] == 2
    measured = {found.nimg: found.metrics for found in read_evaluations(trained.url, own=True)}
    assert list(measured) == [4032, 8000, 12032, 16000, 20032, 24000]
    losses = [metrics["eval/reconstruction_l2"] for metrics in measured.values()]
    assert losses[-1] < losses[0] / 2


def test_killed_and_started_again_from_another_folder_it_ends_bit_identical(mine: Mine, trained: Run) -> None:
    here = mine.folder.name
    line = f"train {here}/my_preset.py data.path={here}/data/mnist32 training.storage={here}/runs name=killed"
    started = subprocess.Popen(
        [*ALAE, *shlex.split(line)],
        cwd=mine.folder.parent,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    command = Command(storage=str(mine.folder / "runs"), name="killed", dataset="", process=started)
    try:
        command.wait_for(6000, mine.run("killed").history)
    finally:
        command.kill_driver()
    assert (stopped := checkpoint.latest(mine.run("killed").url)) is None or stopped.nimg < 24_000
    mine.alae(line, cwd=mine.folder.parent)
    assert differing(final_state(mine.run("killed")), final_state(trained)) == []


def test_it_is_measured_again_by_another_metric(mine: Mine, trained: Run) -> None:
    assert "fd_pixels0.5k" in mine.alae(typed("evaluate"))
    assert len(read_evaluations(trained.url)) == len(read_evaluations(trained.url, own=True)) + 1


def _runs(mine: Mine, name: str) -> list[dict[str, Any]]:
    """Experiments of the runs whose names have this prefix."""
    return [json.loads(path.read_text()) for path in (mine.folder / "runs").glob(f"{name}*/experiment.json")]


def test_the_json_of_the_run_begins_another(mine: Mine, trained: Run) -> None:
    mine.alae(typed("train runs/"))
    (again,) = _runs(mine, "again")
    assert (again["seed"], again["algorithm"]["kind"]) == (1, "plain")
    assert (newest := checkpoint.latest(mine.run("again").url)) is not None and newest.nimg == 4032


def test_two_trials_search_a_field_of_its_own(mine: Mine, trained: Run) -> None:
    mine.alae(typed("tune"))
    weights = {run["algorithm"]["code_weight"] for run in _runs(mine, "searched")}
    assert len(weights) == 2 and all(0.001 <= weight <= 0.1 for weight in weights)


@pytest.mark.parametrize("place", [".", ".."])
def test_a_job_server_that_has_none_of_its_files_trains_it(mine: Mine, tmp_path: Path, place: str) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "mnist32").symlink_to(mine.folder / "data" / "mnist32")
    line = typed("submit").replace("s3://my-bucket", str(bucket))
    with running_head(tmp_path, cpus=2) as head:
        line = f"{line} --address {head.address} --working-dir {place}"
        log = mine.alae(line, RAY_AUTH_TOKEN_PATH=str(head.token_file))
    assert "run mnist32_plain finished: 4.032 kimg" in log and "SUCCEEDED" in log


def test_the_contract_of_every_algorithm_is_held_against_it_by_one_line(mine: Mine) -> None:
    (line,) = [text for text in blocks("your_own.md", "bash") if "make contract" in text]
    variable, _, place = line.split()[0].partition("=")
    assert place == "/path/to/my_project/my_preset.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract/test_algorithms.py"],
        cwd=ROOT,
        env=os.environ | {variable: str(mine.folder / "my_preset.py")},
        text=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d\d passed", done.stdout)


@pytest.mark.store
@both_stores
def test_an_experiment_json_is_read_from_a_store(s3: str, project: Project) -> None:
    project.algorithm("their_plain")
    mine = presets.load(str(project.preset("their_preset.py", "their_plain")))
    storage.write_bytes_verified(f"{s3}/runs/theirs/experiment.json", mine.to_json().encode())
    assert presets.load(f"{s3}/runs/theirs/experiment.json") == mine
    with pytest.raises(ValueError, match=r"/runs/other/experiment\.json"):
        presets.load(f"{s3}/runs/other/experiment.json")
