"""Files of a run without the run, and an MLflow store to replicate them to."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from pipelines.runs.history import History
from pipelines.tracking import mlflow_run
from pipelines.tracking.replica import MLflowReplica

NO_WAIT = 0.01


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'db' / 'mlflow.db'}"


@pytest.fixture(scope="session")
def client(uri: str) -> MlflowClient:
    return mlflow_run.connect(uri)


@pytest.fixture(scope="session")
def dead_uri() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://user:hunter2@127.0.0.1:{probe.getsockname()[1]}"


class Toy:
    """Files of a run, and its replicas."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.uri, self.spool, self.run = uri, folder / "spool", folder / "storage" / "toy"
        self.history = History(self.spool / "history.jsonl")

    def tick(self, *nimgs: int) -> None:
        for nimg in nimgs:
            self.history.append(nimg, {"loss": 1.0 / nimg, "odd": float("nan")}, time=1.7e9 + nimg)

    def evaluate(self, nimg: int, fid: float = 9.5, figure: str = "reconstructions") -> None:
        path = f"figures/{figure}_{nimg:012d}.png"
        record = {
            "nimg": nimg,
            "metrics": {"eval/fid": fid},
            "figures": {figure: path},
            "checkpoint": f"{self.run}/checkpoint_{nimg:012d}",
        }
        for name in ("figures", "evaluations"):
            (self.run / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), nimg % 256, np.uint8)).save(self.run / path)
        (self.run / f"evaluations/{nimg:012d}.json").write_text(json.dumps(record))

    def replica(self, **changes: Any) -> MLflowReplica:
        arguments: dict[str, Any] = {
            "uri": self.uri,
            "experiment": "toys",
            "run_name": "toy",
            "params": {"seed": 0, "data.url": "s3://key:secret@host/x"},
            "tags": {"preset": "debug"},
            "spool": self.spool,
            "run_url": str(self.run),
        }
        return MLflowReplica(**arguments | changes)


@pytest.fixture
def toy(tmp_path: Path, uri: str) -> Toy:
    return Toy(tmp_path, uri)


def steps(client: MlflowClient, run_id: str, name: str) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run_id, name))


def figures(client: MlflowClient, run_id: str) -> list[str]:
    """Key and step of each image, less those where the slider begins."""
    names = [artifact.path for artifact in client.list_artifacts(run_id, "images")]
    return sorted(name.split("+timestamp")[0] for name in names if name.endswith(".png") and "+step+0+" not in name)


def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "the awaited condition never came true"
        time.sleep(0.01)
