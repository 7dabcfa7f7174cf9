"""The run's ticks, written before they are sent to any tracking server: one JSON object per line, in a local folder."""

import json
import logging
import math
import os
import time as clock
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tick:
    """The metrics of one tick; a metric is None where its value was not finite."""

    nimg: int
    metrics: dict[str, float | int | None]
    time: float
    """Unix seconds at which the tick was recorded."""

    @classmethod
    def of(cls, nimg: int, metrics: Mapping[str, Any], time: float | None = None) -> "Tick":
        """A tick of this moment, unless `time` is given; raises ValueError for a metric that is not a number."""
        values = {name: plain(name, value) for name, value in metrics.items()}
        return cls(int(nimg), values, round(clock.time() if time is None else time, 3))


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
        """Record one tick; False if this nimg is already recorded, as after a resume.

        Raises ValueError for a metric that is not a number, OSError if the line could not be written whole.
        """
        return self.add(Tick.of(nimg, metrics, time))

    def add(self, tick: Tick) -> bool:
        """Record an existing tick, as `append` does."""
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


def _parse(line: bytes, path: str | os.PathLike[str]) -> Tick | None:
    try:
        record = json.loads(line)
        return Tick(int(record["nimg"]), dict(record["metrics"]), float(record.get("time", 0.0)))
    except (ValueError, KeyError, TypeError):
        log.warning("%s: a line is not a tick and is left out: %r", path, line[:80])
        return None


def plain(name: str, value: Any) -> float | int | None:
    """A metric's value as JSON holds it, None where it is not finite; raises ValueError where it is not a number."""
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
