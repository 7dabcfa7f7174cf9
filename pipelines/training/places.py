"""Places of an experiment that a cluster cannot reach, refused on the client by `alae submit` and on every driver."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.experiment import Experiment
from pipelines.experiment.paths import TRACKING, local_places, with_absolute_paths
from pipelines.ray_connection import connect, on_cluster

SHARED_VARIABLE = "ALAE_SHARED_FOLDERS"
"""Environment variable with the folders, separated by colons, that every machine of a cluster mounts."""
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this environment variable for the driver of a job, and for nothing else."""
_JOB_FOLDERS = "runtime_resources"
"""Folder of a Ray session in which each job's copy of its working directory lies until Ray deletes it."""


def reachable(experiment: Experiment, join: Callable[[], object] = connect) -> Experiment:
    """The experiment with absolute paths, on the driver.

    Connects by `join` to the cluster in use, if there is one. Raises ValueError, a line per field, for a place that a job
    or the other machines of the cluster cannot reach.
    """
    job = _JOB_VARIABLE in os.environ
    refuse(experiment, job=job, several=False)
    if local_places(experiment) and (job or on_cluster()):
        join()
        refuse(experiment, job=job, several=_several_machines())
    return with_absolute_paths(experiment)


def refuse(experiment: Experiment, *, job: bool, several: bool, folder: Path | None = None) -> None:
    """Raise ValueError, a line per field, for places out of reach of a job or of a cluster with several machines.

    With `folder`, the sentence about a relative path suggests the absolute one from there.
    """
    if problems := list(_problems(experiment, job, several, folder)):
        raise ValueError("\n".join(problems))


def _problems(experiment: Experiment, job: bool, several: bool, folder: Path | None) -> Iterator[str]:
    shared = [Path(each) for each in os.environ.get(SHARED_VARIABLE, "").split(os.pathsep) if each]
    for field, path in local_places(experiment).items():
        remote = "an MLflow server (http://)" if field == TRACKING else "an s3:// address"
        if any(path.is_relative_to(each) for each in shared):
            continue
        if several:
            yield (
                f"{field}={path} is a path of one machine, and the cluster has others, which cannot reach it; use "
                f"{remote}, or name a folder that every machine mounts in {SHARED_VARIABLE}"
            )
        elif job and not path.is_absolute():
            example = f", such as {field}={_from(folder, field, path)}" if folder else ""
            yield (
                f"{field}={path} is relative, and a job runs in a temporary copy of its working directory; use an absolute "
                f"path of the cluster's machine{example}, or {remote}"
            )
        elif job and _JOB_FOLDERS in path.parts:
            yield f"{field}={path} lies in the job's temporary folder, which Ray deletes; use another folder or {remote}"


def _from(folder: Path, field: str, path: Path) -> str:
    absolute = os.path.normpath(folder.absolute() / path)
    return f"sqlite:///{absolute}" if field == TRACKING and path.suffix else absolute


def _several_machines() -> bool:
    """Whether the connected cluster has a machine that is not this one; several nodes on one machine share its disk."""
    import ray

    return any(node["Alive"] and node["NodeManagerHostname"] != socket.gethostname() for node in ray.nodes())
