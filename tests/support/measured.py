"""Writes the folder of a run as training and evaluation leave it, without running them."""

import hashlib
import json
from pathlib import Path

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.protocol_names import parse
from pipelines.experiment import Experiment
from pipelines.runs import checkpoint, layout
from pipelines.runs.evaluations import Evaluation, Measured, write_evaluation


def save(run: Path, nimg: int, experiment: Experiment) -> Path:
    """Write a finished checkpoint whose two files have a few bytes each."""
    folder = run / layout.checkpoint_name(nimg)
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
    """Write an evaluation of the checkpoint at `nimg`, with metrics as keyword arguments: fd_pixels1k=3.0.

    `extra` is the suffix of the file of an evaluation by `alae evaluate`.
    """
    measured = [
        Measured(parse(name), {name: Estimate(value, error, 1000)}, "", weights) for name, value in values.items()
    ]
    evaluation = Evaluation(
        nimg=nimg,
        metrics={},
        figures={},
        checkpoint=str(run / layout.checkpoint_name(nimg)),
        time=1.7e9 + nimg,
        measured={each.protocol.name: each.record() for each in measured},
        dataset={"name": "faces", "url": "s3://data/faces", "digest": dataset},
        resolution=resolution,
        own=not extra,
    )
    write_evaluation(str(run), evaluation, extra.removeprefix("_"))
