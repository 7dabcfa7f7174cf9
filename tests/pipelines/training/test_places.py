"""Places that a cluster cannot reach: refused on the client before a job is uploaded, and on the driver in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from pipelines import presets
from pipelines.cli import check
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.training import places

PRESET = "debug_mnist32_style_alae"


@pytest.fixture(autouse=True)
def _in_no_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", places.SHARED_VARIABLE, "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Exit status and lines of what `alae submit` runs on the client."""
    status = check.main([*arguments])
    return status, capsys.readouterr().err.splitlines()


def test_a_typo_or_a_broken_rule_is_refused_on_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    status, [line] = checked(capsys, "debug_mnist32_styl_alae")
    assert status == 2 and "did you mean debug_mnist32_style_alae?" in line
    status, [line] = checked(capsys, PRESET, "training.tik_kimg=2")
    assert status == 2 and "did you mean training.tick_kimg?" in line
    status, [line] = checked(capsys, PRESET, "name=a/b")
    assert status == 2 and line.startswith('name="a/b" cannot be a folder name')


def test_relative_places_are_refused_by_field_with_the_absolute_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    places_given = ["tracking.uri=sqlite:///m.db", "evaluation.vgg16_weights=vgg.pth", "training.init_from=runs/a/c"]
    status, lines = checked(capsys, PRESET, *places_given)
    assert status == 2
    refused = dict(line.split("=", 1) for line in lines)
    assert refused.keys() == {
        "data.path",
        "training.storage",
        "training.init_from",
        "evaluation.vgg16_weights",
        "tracking.uri",
    }
    assert f"such as training.storage={tmp_path}/runs, or an s3:// address" in refused["training.storage"]
    assert f"such as tracking.uri=sqlite:///{tmp_path}/m.db, or an MLflow server" in refused["tracking.uri"]


def test_places_on_this_machine_are_looked_at(
    capsys: pytest.CaptureFixture[str], tiny_dataset: Path, tmp_path: Path
) -> None:
    storage = f"training.storage={tmp_path}/runs"
    assert checked(capsys, PRESET, f"data.path={tiny_dataset}", storage) == (0, [])
    status, [line] = checked(capsys, PRESET, f"data.path={tmp_path}/faces", storage)
    assert status == 2 and "faces is not a packed dataset" in line
    status, [line] = checked(
        capsys, PRESET, f"data.path={tiny_dataset}", f"training.storage={tiny_dataset}/manifest.json"
    )
    assert status == 2 and "is or lies under a file" in line
    status, [line] = checked(
        capsys, PRESET, f"data.path={tiny_dataset}", storage, f"training.init_from={tmp_path}/none"
    )
    assert status == 2 and line.startswith("training.init_from: ")


def test_a_cluster_elsewhere_needs_stores_or_folders_that_its_machines_mount(
    capsys: pytest.CaptureFixture[str], tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [f"data.path={tiny_dataset}", f"training.storage={tmp_path}/runs"]
    for several in (["--several", PRESET], [PRESET, "scaling.autoscaling=true"]):
        status, lines = checked(capsys, *several, *given)
        assert status == 2 and len(lines) == 2
        assert lines[1].startswith(
            f"training.storage={tmp_path}/runs is a path of one machine, and the cluster has others"
        )
    monkeypatch.setenv(places.SHARED_VARIABLE, f"{tiny_dataset.parent}:{tmp_path}")
    assert checked(capsys, "--several", PRESET, *given, "seed=1") == (0, [])
    status, lines = checked(capsys, "--several", PRESET, *given, "tracking.uri=http://127.0.0.1:5000")
    assert status == 0 and lines[0].startswith("tracking.uri=http://127.0.0.1:5000 means on the cluster")


@pytest.mark.slow
def test_a_store_that_only_the_cluster_reaches_is_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    given = ["data.path=s3://b/set", "training.storage=s3://b/runs", "training.init_from=s3://b/first/checkpoint_1"]
    status, [line, second] = checked(capsys, "--several", PRESET, *given)
    assert status == 0 and second.startswith("training.init_from is not checked from here")
    assert line.startswith("data.path is not checked from here, and the job checks it again: s3://b/set/manifest.json")


def test_a_job_refuses_what_lies_in_its_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(
        ValueError, match=r"^data\.path=data/mnist32 is relative[^\n]*\ntraining\.storage=runs is relative"
    ):
        places.reachable(presets.load(PRESET))
    inside = "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1"
    experiment = override(presets.load(PRESET), [f"data.path={inside}/data", f"training.storage={inside}/runs"])
    with pytest.raises(
        ValueError, match=r"training\.storage=\S+ lies in the job's temporary folder, which Ray deletes"
    ):
        places.reachable(experiment)


def test_a_driver_refuses_its_own_paths_only_if_the_cluster_has_another_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nodes: list[dict[str, Any]] = [{"Alive": True, "NodeManagerHostname": places.socket.gethostname()}] * 2
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    experiment = presets.load(PRESET)
    joined: list[int] = []

    def reachable(experiment: Experiment) -> Experiment:
        return places.reachable(experiment, lambda: joined.append(1))

    assert reachable(experiment).training.storage == f"{tmp_path}/runs"
    nodes.append({"Alive": False, "NodeManagerHostname": "gone"})
    reachable(experiment)
    nodes.append({"Alive": True, "NodeManagerHostname": "other"})
    with pytest.raises(
        ValueError, match=r"training\.storage=runs is a path of one machine, and the cluster has others"
    ):
        reachable(experiment)
    remote = replace(experiment, data=replace(experiment.data, path="s3://b/d"))
    remote = replace(remote, training=replace(remote.training, storage="s3://b/runs"))
    assert reachable(remote) == remote and len(joined) == 3
