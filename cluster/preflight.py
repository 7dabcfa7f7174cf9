"""Check of a cluster file before `ray up` spends money: Ray's schema, then the rules of this project."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
import yaml  # a dependency of Ray itself

Config = dict[str, Any]

# (vCPUs, GPUs) of the instance types that we name or suggest; other types are not checked.
_INSTANCE_TYPES = {
    "g5.xlarge": (4, 1),
    "g5.12xlarge": (48, 4),
    "g5.48xlarge": (192, 8),
    "g6.12xlarge": (48, 4),
    "g6e.12xlarge": (48, 4),
    "p4d.24xlarge": (96, 8),
    "p5.48xlarge": (192, 8),
    "c6i.4xlarge": (16, 0),
    "c6i.8xlarge": (32, 0),
    "c6i.16xlarge": (64, 0),
}
_MOST_WORKERS, _IDLE_MINUTES = 100, (2, 60)


def check_cluster_file(path: str | Path) -> list[str]:
    """Problems of the cluster file at `path`, one sentence each; empty if there are none. Needs no network."""
    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path} cannot be read: {error}"]
    except yaml.YAMLError as error:
        return [f"{path} is not YAML: {' '.join(str(error).split())}"]
    if not isinstance(config, dict):
        return [f"{path} holds no cluster definition; begin with `cluster_name:`"]
    # The rules below read fields that only a file in Ray's schema is sure to have.
    return _against_schema(config) or [problem for rule in _RULES for problem in rule(config)]


def _against_schema(config: Config) -> list[str]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    provider = config.get("provider")
    if not isinstance(provider, dict) or provider.get("type") != "aws":
        return ["provider.type must be aws: the rules of this check are about AWS"]
    if "available_node_types" not in config:  # Ray would fill in its own two types and start those
        return ["available_node_types is missing; define head, GPU and CPU node types"]
    try:
        validate_config(prepare_config(config))
    except Exception as error:
        where = ".".join(str(part) for part in getattr(error, "absolute_path", ()))
        what = getattr(error, "message", None) or str(error) or type(error).__name__
        return [f"{where or 'Ray'}: {what}"]
    return []


def _workers(config: Config) -> dict[str, Config]:
    return {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}


def _gpus(node: Config) -> int:
    return int(node["resources"].get("GPU", 0))


def _is_spot(node: Config) -> bool:
    return node["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"


def _head(config: Config) -> Iterator[str]:
    name = config["head_node_type"]
    head = config["available_node_types"][name]
    for resource in ("CPU", "GPU"):
        if head["resources"].get(resource) != 0:
            yield (
                f"available_node_types.{name}.resources.{resource} must be 0: the head carries the drivers, "
                "and training or decoding there can take the whole cluster down"
            )
    if _is_spot(head):
        yield f"available_node_types.{name} is a spot instance: losing the head ends every job; run it on demand"


def _pools(config: Config) -> Iterator[str]:
    workers = _workers(config)
    gpu = {name: node for name, node in workers.items() if _gpus(node) > 0}
    if not gpu:
        yield "no worker type has GPUs; give one resources: {GPU: n}"
    for name, node in gpu.items():
        if not _is_spot(node):
            yield (
                f"available_node_types.{name} runs on demand; runs resume from checkpoints, "
                "so set node_config.InstanceMarketOptions.MarketType: spot"
            )
    if len(gpu) == len(workers):
        yield "no worker type without GPUs reads the data; decoding on GPU nodes leaves their GPUs waiting"
    for name, node in config["available_node_types"].items():
        if not node.get("labels", {}).get("pool"):
            yield f"available_node_types.{name}.labels.pool is missing; it distinguishes the pools"


def _counts(config: Config) -> Iterator[str]:
    total = config.get("max_workers")
    if not isinstance(total, int) or not 1 <= total <= _MOST_WORKERS:
        yield f"max_workers={total} must be 1 to {_MOST_WORKERS}: it is what bounds the bill"
        return
    for name, node in _workers(config).items():
        low, high = node.get("min_workers", 0), node.get("max_workers", total)
        if not 0 <= low <= high <= total or high == 0:
            yield (
                f"available_node_types.{name}: min_workers={low}, max_workers={high} must satisfy "
                f"0 <= min <= max <= {total} (the cluster's max_workers), and max > 0"
            )
    idle, (shortest, longest) = config.get("idle_timeout_minutes"), _IDLE_MINUTES
    if not isinstance(idle, (int, float)) or not shortest <= idle <= longest:
        yield (
            f"idle_timeout_minutes={idle} must be {shortest} to {longest}: "
            "shorter, nodes come and go within a run; longer, idle GPUs are paid for"
        )


def _instance_types(config: Config) -> Iterator[str]:
    for name, node in config["available_node_types"].items():
        instance = str(node["node_config"].get("InstanceType", ""))
        if not re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", instance):
            yield f"available_node_types.{name}.node_config.InstanceType must name an EC2 type such as g5.12xlarge"
        if name == config["head_node_type"] or instance not in _INSTANCE_TYPES:
            continue
        for resource, present in zip(("CPU", "GPU"), _INSTANCE_TYPES[instance], strict=True):
            claimed = node["resources"].get(resource, 0)
            if claimed > present:
                yield f"available_node_types.{name}.resources.{resource}={claimed}, but {instance} has {present}"


def _versions(config: Config) -> Iterator[str]:
    docker = config.get("docker") or {}
    images = {f"docker.{key}": docker.get(key) for key in ("image", "head_image", "worker_image")}
    for name, node in config["available_node_types"].items():
        images[f"available_node_types.{name}.docker.worker_image"] = node.get("docker", {}).get("worker_image")
    named = {field: str(image) for field, image in images.items() if image}
    for field, image in named.items():
        if not re.search(rf":{re.escape(ray.__version__)}(-|$)", image):
            yield f"{field}={image} must carry Ray {ray.__version__}, the version installed here"
    commands = " ".join(config.get("setup_commands", []))
    for version in re.findall(r"\bray(?:\[[^\]]*\])?==([\w.]+)", commands):
        if version != ray.__version__:
            yield f"setup_commands installs Ray {version}, but Ray {ray.__version__} is installed here"
    if not named and f"=={ray.__version__}" not in commands:
        yield f"neither docker.image nor setup_commands pins Ray; name {ray.__version__}"


def _security(config: Config) -> Iterator[str]:
    for field in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in config.get(field, []) if "ray start" in command]
        if not starts or not all("RAY_AUTH_MODE=token" in command for command in starts):
            yield f"{field} must run `ray start` under RAY_AUTH_MODE=token: without it anyone who connects runs code"
    hosts = re.findall(r"--dashboard-host[= ](\S+)", " ".join(config.get("head_start_ray_commands", [])))
    if hosts != ["127.0.0.1"]:
        yield "head_start_ray_commands must say --dashboard-host=127.0.0.1: the dashboard runs whatever it is sent"
    if not any(str(remote).endswith(".ray/auth_token") for remote in config.get("file_mounts", {})):
        yield "file_mounts lacks ~/.ray/auth_token; without it no worker can join the head"
    if re.search(r"RAY_AUTH_TOKEN=\S|AKIA[0-9A-Z]{16}|SECRET_ACCESS_KEY\W+\w", str(config)):
        yield "the file holds a secret; mount token files and give nodes an IamInstanceProfile instead"


_RULES: tuple[Callable[[Config], Iterator[str]], ...] = (
    _head,
    _pools,
    _counts,
    _instance_types,
    _versions,
    _security,
)


def main(arguments: list[str]) -> int:
    """Print the problems of the cluster file named in `arguments`; 0 if there are none, 1 if some, 2 without a name."""
    if len(arguments) != 1:
        print("usage: python -m cluster.preflight ray_cluster.yaml", file=sys.stderr)
        return 2
    problems = check_cluster_file(arguments[0])
    for problem in problems:
        print(problem)
    print(f"{arguments[0]}: " + (f"{len(problems)} problem(s)" if problems else "no problems found (offline check)"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
