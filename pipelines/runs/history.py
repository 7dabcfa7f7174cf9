"""The run's own record, written before any tracking server hears of it.

`history.jsonl` holds the ticks, one JSON object per line, in a local folder.
`evaluations/<nimg>.json`, with the figures it names, is in the run's folder on storage.
"""

import json
import logging
import math
import os
import time as clock
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pipelines import storage
from pipelines.storage.files import modified

HISTORY_FILE = "history.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tick:
    """What one tick measured; a metric is None where it was not a finite number."""

    nimg: int
    metrics: dict[str, float | int | None]
    time: float
    """Unix seconds at which the tick was recorded."""

    @classmethod
    def of(cls, nimg: int, metrics: Mapping[str, Any], time: float | None = None) -> "Tick":
        """A tick of this moment, unless `time` is given; raises ValueError for a metric that is not a number."""
        values = {name: _plain(name, value) for name, value in metrics.items()}
        return cls(int(nimg), values, round(clock.time() if time is None else time, 3))


class EvaluationError(ValueError):
    """A file among the evaluations that does not read as one."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one checkpoint, and its figures: paths inside the run folder by key."""

    nimg: int
    metrics: dict[str, float | None]
    figures: dict[str, str]
    checkpoint: str | None
    time: float
    """Unix seconds: the file's own `time`, else when it was last written."""
    measured: dict[str, Any] = field(default_factory=dict)
    """By metric: protocol, weights and estimates, as `pipelines.runs.results` reads them."""
    dataset: dict[str, str] | None = None
    """Name, URL and digest of the dataset it was measured against."""
    resolution: int | None = None
    """Of the checkpoint's images, in px."""
    own: bool = True
    """Taken by the run itself, not by a later `alae evaluate`."""


class History:
    """The one writer of a `history.jsonl`; it can be pickled, and holds no file open between ticks.

    Opening removes a last line that a killed writer left unfinished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_torn_line(self.path)
        self._recorded = {tick.nimg for tick in self.records()}

    def append(self, nimg: int, metrics: Mapping[str, Any], time: float | None = None) -> bool:
        """Records one tick; False if this nimg is already recorded, as after a resume.

        Raises ValueError for a metric that is not a number, OSError if the line could not be written whole.
        """
        return self.add(Tick.of(nimg, metrics, time))

    def add(self, tick: Tick) -> bool:
        """As `append`, of a tick that is already made."""
        if tick.nimg in self:
            return False
        record = {"nimg": tick.nimg, "time": tick.time, "metrics": tick.metrics}
        _append_whole(self.path, json.dumps(record, allow_nan=False).encode() + b"\n")
        self._recorded.add(tick.nimg)
        return True

    def __contains__(self, nimg: int) -> bool:
        """Whether the tick at `nimg` images is recorded."""
        return nimg in self._recorded

    def records(self) -> list[Tick]:
        """Every tick, in order of nimg."""
        ticks, _ = read_history(self.path)
        return sorted(ticks, key=lambda tick: tick.nimg)

    def after(self, nimg: int) -> list[Tick]:
        """The ticks beyond `nimg` images, in order."""
        return [tick for tick in self.records() if tick.nimg > nimg]


def read_history(path: str | os.PathLike[str], offset: int = 0) -> tuple[list[Tick], int]:
    """The ticks from byte `offset` on, and the offset to go on from.

    Changes nothing, so it may run beside the writer; a line still being written is left for next time.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    ticks = [_parse(line, path) for line in whole.splitlines()]
    return [tick for tick in ticks if tick is not None], offset + len(whole)


def list_evaluations(run_url: str, *, own: bool = False) -> list[str]:
    """Paths of the evaluations inside the run folder, in order of nimg; empty if there are none yet.

    `own` leaves out those that `alae evaluate` took beside the run's own.
    """
    names = storage.list_dir(storage.join(run_url, "evaluations"))
    paths = [f"evaluations/{name}" for name in sorted(names) if name.endswith(".json")]
    return [path for path in paths if not own or is_own(path)]


def is_own(path: str) -> bool:
    """Whether one of `list_evaluations` was taken by the run itself, which tells of a checkpoint by `<nimg>.json`."""
    return "_" not in path.rpartition("/")[2]


def read_evaluations(run_url: str, *, own: bool = False) -> list[Evaluation]:
    """All of `list_evaluations`; one that is damaged is warned about and left out."""
    found = []
    for path in list_evaluations(run_url, own=own):
        try:
            found.append(read_evaluation(run_url, path))
        except EvaluationError as error:
            log.warning("%s", error)
    return found


def read_evaluation(run_url: str, path: str) -> Evaluation:
    """Reads one of `list_evaluations`; raises EvaluationError if it is damaged or not yet whole."""
    url = storage.join(run_url, path)
    data = storage.read_bytes(url)
    try:
        record = json.loads(data)
        metrics = {name: _plain(name, math.nan if v is None else v) for name, v in record["metrics"].items()}
        figures = dict(record.get("figures") or {})
        stamp = float(record.get("time") or modified(url))
        return Evaluation(
            nimg=int(record["nimg"]),
            metrics=metrics,
            figures=figures,
            checkpoint=record.get("checkpoint"),
            time=stamp,
            measured=dict(record.get("measured") or {}),
            dataset=record.get("dataset"),
            resolution=record.get("resolution"),
            own=is_own(path),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationError(f"{path} is not an evaluation: {error!r}") from error


def _parse(line: bytes, path: str | os.PathLike[str]) -> Tick | None:
    try:
        record = json.loads(line)
        return Tick(int(record["nimg"]), dict(record["metrics"]), float(record.get("time", 0.0)))
    except (ValueError, KeyError, TypeError):
        log.warning("%s: a line is not a tick and is left out: %r", path, line[:80])
        return None


def _plain(name: str, value: Any) -> float | int | None:
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real):
        raise ValueError(f"metric {name}={value!r} is not a number; record finite floats and ints only")
    return float(value) if math.isfinite(value) else None


def _append_whole(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            # Half a line would swallow the next one, so it is taken back.
            os.ftruncate(descriptor, before)
            raise OSError(f"{path}: the disk took only part of a line; free some space")
    finally:
        os.close(descriptor)


def _remove_torn_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        log.warning("%s: removed an unfinished last line of %d bytes", path, len(data) - whole)
        os.truncate(path, whole)
