"""A run's folder as training and evaluations leave it, without either."""

import hashlib
import json
from pathlib import Path

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.protocol_names import parse
from pipelines.evaluation.runner import Measured
from pipelines.experiment import Experiment
from pipelines.runs import checkpoint


def save(run: Path, nimg: int, experiment: Experiment) -> Path:
    """A finished checkpoint whose two files hold a few bytes each."""
    folder = run / checkpoint.directory_name(nimg)
    folder.mkdir(parents=True)
    files = {}
    for name in (checkpoint.STATE, checkpoint.EMA):
        content = f"{name} at {nimg}".encode()
        (folder / name).write_bytes(content)
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"nimg": nimg, "experiment": json.loads(experiment.to_json()), "files": files}
    (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    return folder


def evaluate(
    run: Path,
    nimg: int,
    *,
    extra: str = "",
    dataset: str = "0123456789abcdef",
    resolution: int = 8,
    weights: str = "pixels8",
    error: float | None = 0.5,
    **values: float,
) -> None:
    """An evaluation of the checkpoint at `nimg`, by metrics named without their last `k`'s dots: fd_pixels1k=3.0.

    `extra` is the ending of the file of one that `alae evaluate` took.
    """
    measured = [
        Measured(parse(name), {name: Estimate(value, error, 1000)}, "", weights) for name, value in values.items()
    ]
    metrics = {f"eval/{name}": value for name, value in values.items()}
    record = {
        "nimg": nimg,
        "time": 1.7e9 + nimg,
        "metrics": metrics if error is None else metrics | {f"eval/{name}_se": error for name in values},
        "measured": {each.protocol.name: each.record() for each in measured},
        "figures": {},
        "checkpoint": str(run / checkpoint.directory_name(nimg)),
        "dataset": {"name": "faces", "url": "s3://data/faces", "digest": dataset},
        "resolution": resolution,
    }
    (run / "evaluations").mkdir(parents=True, exist_ok=True)
    (run / f"evaluations/{nimg:012d}{extra}.json").write_text(json.dumps(record))
