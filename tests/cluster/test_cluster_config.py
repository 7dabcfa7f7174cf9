"""The shipped cluster file passes Ray's schema and our rules, and each rule has a file that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import preflight

CLUSTER_FILE = Path(__file__).parents[2] / "ray_cluster.yaml"
Config = dict[str, Any]


@pytest.fixture
def problems_after(tmp_path: Path) -> Callable[[Callable[[Config], object]], list[str]]:
    """The problems found in a copy of the shipped file after a change."""

    def check(change: Callable[[Config], object]) -> list[str]:
        # A dump and a load part what anchors share, so that a change touches one node type only.
        config = yaml.safe_load(yaml.dump(yaml.safe_load(CLUSTER_FILE.read_text()), Dumper=_NoAliases))
        change(config)
        copy = tmp_path / "cluster.yaml"
        copy.write_text(yaml.dump(config))
        return preflight.check_cluster_file(copy)

    return check


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def test_the_shipped_cluster_file_has_no_problems() -> None:
    assert preflight.check_cluster_file(CLUSTER_FILE) == []


def test_an_unchanged_copy_has_no_problems(problems_after: Callable) -> None:
    assert problems_after(lambda config: None) == []


def _node(name: str, **changes: Any) -> Callable[[Config], object]:
    return lambda config: config["available_node_types"][name].update(changes)


def _node_config(name: str, **changes: Any) -> Callable[[Config], object]:
    return lambda config: config["available_node_types"][name]["node_config"].update(changes)


def _start(field: str, old: str, new: str) -> Callable[[Config], object]:
    def change(config: Config) -> None:
        config[field] = [command.replace(old, new) for command in config[field]]

    return change


BROKEN = {
    "an unknown field": (lambda c: c.update(idle_minutes=5), "idle_minutes"),
    "an unknown field of a node type": (_node("train", gpus=4), "available_node_types.train"),
    "a wrong type": (lambda c: c.update(max_workers="twelve"), "max_workers"),
    "a head_node_type that is not there": (lambda c: c.update(head_node_type="boss"), "head_node_type"),
    "no node types": (lambda c: c.pop("available_node_types"), "available_node_types"),
    "another provider": (lambda c: c["provider"].update(type="gcp"), "provider.type"),
    "a head with CPUs to hand out": (_node("head", resources={"CPU": 8, "GPU": 0}), "head.resources.CPU"),
    "a head that counts its own CPUs": (_node("head", resources={"GPU": 0}), "head.resources.CPU"),
    "a head on spot": (
        _node_config("head", InstanceMarketOptions={"MarketType": "spot"}),
        "available_node_types.head",
    ),
    "GPUs on demand": (_node_config("train", InstanceMarketOptions={}), "available_node_types.train"),
    "no GPUs": (lambda c: c["available_node_types"].pop("train"), "no worker type has GPUs"),
    "no data workers": (lambda c: c["available_node_types"].pop("data"), "no worker type without GPUs"),
    "no pool label": (_node("data", labels={}), "data.labels.pool"),
    "a bill without bound": (lambda c: c.update(max_workers=5000), "max_workers=5000"),
    "a pool larger than the cluster": (_node("data", max_workers=50), "available_node_types.data"),
    "nodes that never go": (lambda c: c.update(idle_timeout_minutes=600), "idle_timeout_minutes=600"),
    "an instance type without a name": (
        _node_config("data", InstanceType=""),
        "data.node_config.InstanceType",
    ),
    "more GPUs than the machine has": (
        _node("train", resources={"CPU": 48, "GPU": 8}),
        "train.resources.GPU=8",
    ),
    "another Ray in the image": (
        lambda c: c["docker"].update(image="rayproject/ray:2.9.0-py311"),
        "docker.image",
    ),
    "an unpinned image": (
        _node("train", docker={"worker_image": "rayproject/ray:latest"}),
        "train.docker.worker_image",
    ),
    "another Ray in the setup": (
        lambda c: c["setup_commands"].append("pip install ray[data]==2.9.0"),
        "Ray 2.9.0",
    ),
    "no Ray version at all": (
        lambda c: (c.pop("docker"), c["available_node_types"]["train"].pop("docker")),
        "pins Ray",
    ),
    "a head without token": (
        _start("head_start_ray_commands", "RAY_AUTH_MODE=token", ""),
        "head_start_ray_commands",
    ),
    "workers without token": (
        _start("worker_start_ray_commands", "=token", "=disabled"),
        "worker_start_ray_commands",
    ),
    "a dashboard for everybody": (
        _start("head_start_ray_commands", "127.0.0.1", "0.0.0.0"),
        "--dashboard-host",
    ),
    "no token file": (lambda c: c["file_mounts"].pop("~/.ray/auth_token"), "auth_token"),
    "a token in the file": (lambda c: c["setup_commands"].append("export RAY_AUTH_TOKEN=abc"), "secret"),
}


@pytest.mark.parametrize("change, named", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_cluster_file_is_refused_with_one_problem_that_names_it(
    problems_after: Callable, change: Callable[[Config], object], named: str
) -> None:
    problems = problems_after(change)
    assert len(problems) == 1 and named in problems[0]


def test_text_that_is_not_yaml_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1, 2\nb: }")
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "is not YAML" in preflight.check_cluster_file(tmp_path / "bad.yaml")[0]
    assert "no cluster definition" in preflight.check_cluster_file(tmp_path / "list.yaml")[0]
    assert "cannot be read" in preflight.check_cluster_file(tmp_path / "absent.yaml")[0]


def test_the_command_prints_problems_and_exits_non_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "cluster.yaml"
    broken.write_text(CLUSTER_FILE.read_text().replace("max_workers: 12", "max_workers: 1200"))
    assert preflight.main([str(broken)]) == 1
    assert "max_workers=1200" in capsys.readouterr().out
    assert preflight.main([str(CLUSTER_FILE)]) == 0
    assert preflight.main([]) == 2


def test_what_the_cluster_file_mounts_is_there() -> None:
    mounts = yaml.safe_load(CLUSTER_FILE.read_text())["file_mounts"]
    ours = [CLUSTER_FILE.parent / local for local in mounts.values() if not local.startswith("~")]
    assert [str(path) for path in ours if not path.exists()] == []
