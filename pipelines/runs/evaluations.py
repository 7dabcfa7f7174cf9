"""An evaluation's record, each value stored once, and its one writer and reader.

`evaluations/<nimg>.json` is the run's own evaluation of a checkpoint; `alae evaluate` adds others beside it. A record does
not change once it is whole. Records of earlier versions hold every estimate once more among their metrics; they read alike.
"""

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.protocol import Protocol
from pipelines import storage
from pipelines.data.format.shards import Dataset
from pipelines.runs import layout
from pipelines.runs.history import plain
from pipelines.storage.digests import short_digest
from pipelines.storage.files import modified

RESOLUTION = "eval/resolution"

log = logging.getLogger(__name__)


class EvaluationError(ValueError):
    """A file among the evaluations that does not read as one."""


@dataclass(frozen=True)
class Measured:
    """One metric of one checkpoint: an estimate for each of its protocol's keys."""

    protocol: Protocol
    estimates: dict[str, Estimate]
    left_out: str = ""
    """Why there is none, where the metric cannot be taken at the checkpoint's level."""
    weights: str = ""
    """Digest of the weights that took the features; "" where none did."""

    def record(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "protocol": self.protocol.as_dict(),
            "weights": self.weights,
            "estimates": {
                key: {
                    "value": found.value,
                    "standard_error": found.standard_error,
                    "count": found.count,
                    "notes": list(found.notes),
                }
                for key, found in self.estimates.items()
            },
            **({"left_out": self.left_out} if self.left_out else {}),
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Measured":
        """The inverse of `record`; raises KeyError, TypeError or ValueError for anything else."""
        estimates = {
            key: Estimate(**{**estimate, "notes": tuple(estimate["notes"])})
            for key, estimate in record["estimates"].items()
        }
        return cls(Protocol(**record["protocol"]), estimates, record.get("left_out", ""), record["weights"])


@dataclass(frozen=True)
class Evaluation:
    """All that was measured of one checkpoint."""

    nimg: int
    metrics: dict[str, float | int | None]
    """Every value by name: `eval/<key>` and `eval/<key>_se` of each estimate, and those that have no protocol."""
    figures: dict[str, str]
    """Paths inside the run's folder by key."""
    checkpoint: str | None
    """Address of the checkpoint; its record holds the path relative to the run, so the run's folder may be moved."""
    time: float
    """Unix seconds: the record's own `time`, else when it was last written."""
    measured: dict[str, Any] = field(default_factory=dict)
    """`Measured.record()` by metric; `taken` reads them."""
    dataset: dict[str, str] | None = None
    """Name, URL and digest of the dataset it was measured against."""
    resolution: int | None = None
    """Side of the checkpoint's images, in px."""
    own: bool = True
    """Taken by the run itself, not by a later `alae evaluate`."""

    @classmethod
    def now(
        cls,
        checkpoint: str,
        nimg: int,
        resolution: int,
        datasets: Sequence[Dataset],
        measured: Iterable[Measured],
        metrics: Mapping[str, float] | None = None,
        figures: Mapping[str, str] | None = None,
        own: bool = True,
    ) -> "Evaluation":
        """The evaluation that was just taken of the checkpoint at a URL; `metrics` adds values that have no protocol."""
        records = {found.protocol.name: found.record() for found in measured}
        return cls(
            nimg=nimg,
            metrics=_all_metrics(records, metrics or {}, resolution if own else None),
            figures=dict(figures or {}),
            checkpoint=checkpoint,
            time=time.time(),
            measured=records,
            dataset=dataset_record(datasets),
            resolution=resolution,
            own=own,
        )

    @classmethod
    def of(cls, record: Mapping[str, Any], run_url: str, path: str, written: float) -> "Evaluation":
        """The evaluation in a record at `path` of a run, `written` at that Unix time; raises EvaluationError.

        Earlier versions recorded the checkpoint's absolute address; its last folders name the checkpoint in this run.
        """
        try:
            own = layout.is_own_evaluation(path)
            measured = dict(record.get("measured") or {})
            resolution = record.get("resolution")
            return cls(
                nimg=int(record["nimg"]),
                metrics=_all_metrics(measured, record["metrics"], resolution if own else None),
                figures=dict(record.get("figures") or {}),
                checkpoint=(saved := record.get("checkpoint")) and layout.checkpoint_in(run_url.rstrip("/"), saved),
                time=float(record.get("time") or written),
                measured=measured,
                dataset=record.get("dataset"),
                resolution=resolution,
                own=own,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(f"{path} is not an evaluation: {error!r}") from error

    def record(self) -> dict[str, Any]:
        """Plain values, fit for JSON, each once."""
        derived = {*_estimates(self.measured), RESOLUTION}
        return {
            "nimg": self.nimg,
            "time": self.time,
            "metrics": {name: value for name, value in self.metrics.items() if name not in derived},
            "measured": self.measured,
            "figures": self.figures,
            "checkpoint": self.checkpoint and layout.relative_checkpoint(self.checkpoint),
            "dataset": self.dataset,
            "resolution": self.resolution,
        }

    def taken(self) -> list[Measured]:
        """The metrics with their protocols and estimates; raises EvaluationError where it does not say how they were taken."""
        try:
            if self.measured and not (self.dataset and self.dataset["digest"] and self.resolution):
                raise KeyError("dataset or resolution")
            return [Measured.of(record) for record in self.measured.values()]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EvaluationError(
                f"the evaluation at {self.nimg / 1000:g} kimg does not say how it was taken ({error!r}); take it again "
                "with alae evaluate"
            ) from error


class Evaluations:
    """The evaluations of one run, each read once."""

    def __init__(self, run_url: str) -> None:
        self.run_url = run_url
        self._read: dict[str, Evaluation] = {}

    def read(self, path: str) -> Evaluation:
        """One of `list_evaluations`; raises EvaluationError if it is damaged or not yet whole."""
        if path not in self._read:
            self._read[path] = read_evaluation(self.run_url, path)
        return self._read[path]

    def all(self, *, own: bool = False) -> list[Evaluation]:
        """Those that read, in order of nimg; others are warned about. `own` leaves out what `alae evaluate` added."""
        return list(self.these(list_evaluations(self.run_url, own=own)).values())

    def these(self, paths: Iterable[str]) -> dict[str, Evaluation]:
        """The evaluations at these paths that read, by path."""
        found = {}
        for path in paths:
            try:
                found[path] = self.read(path)
            except EvaluationError as error:
                log.warning("%s", error)
        return found


def write_evaluation(run_url: str, evaluation: Evaluation, added: str = "") -> str:
    """Keep an evaluation with its run, verified; one that is not the run's own needs a digest `added`. Returns its URL."""
    url = storage.join(run_url, layout.evaluation_path(evaluation.nimg, added))
    storage.write_json_verified(url, evaluation.record())
    return url


def read_evaluation(run_url: str, path: str) -> Evaluation:
    """Read one of `list_evaluations`; raises EvaluationError if it is damaged or not yet whole."""
    url = storage.join(run_url, path)
    data = storage.read_bytes(url)
    try:
        record = json.loads(data)
        written = 0.0 if record.get("time") else modified(url)
    except (ValueError, AttributeError) as error:
        raise EvaluationError(f"{path} is not an evaluation: {error!r}") from error
    return Evaluation.of(record, run_url, path, written)


def list_evaluations(run_url: str, *, own: bool = False) -> list[str]:
    """Paths of the evaluations inside the run folder, in order of nimg; empty if there are none yet.

    `own` leaves out those that `alae evaluate` took beside the run's own.
    """
    names = storage.list_dir(storage.join(run_url, layout.EVALUATIONS))
    paths = [f"{layout.EVALUATIONS}/{name}" for name in sorted(names) if name.endswith(".json")]
    return [path for path in paths if not own or layout.is_own_evaluation(path)]


def read_evaluations(run_url: str, *, own: bool = False) -> list[Evaluation]:
    """All of `list_evaluations`; one that is damaged is warned about and left out."""
    return Evaluations(run_url).all(own=own)


def metrics_of(measured: Iterable[Measured]) -> dict[str, float]:
    """`eval/<key>` and, where it is known, its standard error `eval/<key>_se`."""
    return _estimates({found.protocol.name: found.record() for found in measured})


def dataset_record(datasets: Sequence[Dataset]) -> dict[str, str]:
    """The name, URL and digest of the dataset of an evaluation; of two domains, of both together."""
    url = datasets[0].url.rstrip("/")
    if len(datasets) > 1:
        url = url.rpartition("/")[0] or "."
    splits = "|".join(
        ",".join(f"{name}={checksum}" for name, checksum in sorted(each.identity.items())) for each in datasets
    )
    return {"name": url.rpartition("/")[2], "url": url, "digest": short_digest(splits)}


def _all_metrics(
    measured: Mapping[str, Any], others: Mapping[str, float | None], resolution: int | None
) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {
        name: plain(name, math.nan if value is None else value)
        for name, value in {**_estimates(measured), **others}.items()
    }
    if resolution is not None:
        found.setdefault(RESOLUTION, float(resolution))
    return found


def _estimates(measured: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for record in measured.values():
        for key, estimate in record["estimates"].items():
            found[f"eval/{key}"] = estimate["value"]
            if estimate["standard_error"] is not None:
                found[f"eval/{key}_se"] = estimate["standard_error"]
    return found
