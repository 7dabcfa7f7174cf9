"""Ray Train's validation function: a checkpoint's averaged networks -> evaluations/<nimg>.json and figures on storage."""

import time
from typing import Any

from ray.train import Checkpoint

from pipelines import checkpoint as checkpoints
from pipelines import storage
from pipelines.data.shards import Dataset
from pipelines.evaluation import figures
from pipelines.evaluation.evaluate import Scores, evaluate
from pipelines.evaluation.subject import Subject
from pipelines.experiment import Experiment


def validate_checkpoint(run_url: str, checkpoint: Checkpoint) -> dict[str, float]:
    """Evaluate one checkpoint of a run in a Ray task and write down what came of it; done already, it is only read.

    Ray calls nothing when a validation ends, so what it leaves on storage is what the tracking picks up.
    """
    name = checkpoint.path.rstrip("/").rpartition("/")[2]
    return evaluate_checkpoint(run_url, f"{run_url}/{name}")


def evaluate_checkpoint(run_url: str, url: str) -> dict[str, float]:
    """The metrics of the checkpoint at `url`, kept with its run."""
    nimg = checkpoints.read_manifest(url)["nimg"]
    path = evaluation_url(run_url, nimg)
    if storage.exists(path):
        return storage.read_json(path)["metrics"]
    scores = _score(url)
    pages = {name: f"figures/{name}_{nimg:012d}.png" for name in scores.figures}
    for name, page in scores.figures.items():
        storage.write_bytes_verified(f"{run_url}/{pages[name]}", figures.png_bytes(page))
    record: dict[str, Any] = {
        "nimg": nimg,
        "time": time.time(),
        "metrics": scores.metrics,
        "measured": {found.protocol.name: found.record() for found in scores.measured},
        "figures": pages,
        "checkpoint": url,
    }
    storage.write_json_verified(path, record)
    return scores.metrics


def evaluation_url(run_url: str, nimg: int) -> str:
    """Where the evaluation of the checkpoint at `nimg` is kept."""
    return f"{run_url}/evaluations/{nimg:012d}.json"


def load_subject(url: str) -> tuple[Experiment, Subject, int]:
    """The experiment of the checkpoint at `url`, its averaged networks at the level they were trained at, and its nimg."""
    experiment, algorithm, networks, nimg = checkpoints.load_averages(url)
    subject = Subject(
        algorithm=algorithm,
        networks=networks,
        level=experiment.schedule.level_before(nimg),
        channels=experiment.algorithm.channels,
        seed=experiment.seed,
    )
    return experiment, subject, nimg


def _score(url: str) -> Scores:
    experiment, subject, _ = load_subject(url)
    return evaluate(subject, Dataset.open(experiment.data.path), experiment.evaluation)
