"""Alarms: rules on a run's ticks that detect failing training, each with a message.

A rule reads only means over windows of ticks of one level, never a single tick, so a resumed run raises the same alarms.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from alae_core.schedule import ProgressiveSchedule, Segment, at_level

WINDOW_SHARE = 0.05
"""Length of a window, as a share of a level's watched images, which are those after its fade-in and warm-up."""
SHARED_NIMG = 3_000_000
"""Upper bound of the images that windows and graces are shares of (100 epochs of 30,000); long runs would alarm too late."""
WINDOW_TICKS = 3
"""Smallest number of ticks in a window."""


class Record(Protocol):
    """Measurements of one tick: means over the images since the previous tick, up to `nimg`."""

    @property
    def nimg(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...


@dataclass(frozen=True)
class Window:
    """Means of metrics over consecutive ticks of one level."""

    begins: float
    """Share of the level's watched images before the window, in [0, 1)."""
    nimg: int
    """Images of the run at the window's end."""
    means: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A sign of failing training.

    `rule` is a pure function, called at the end of each window with the level's windows so far, oldest first.
    """

    name: str
    sentence: str
    """The failure and the remedy, in one sentence without a full stop."""
    reads: tuple[str, ...]
    """Names of the metrics the rule reads; a window that lacks one is skipped."""
    rule: Callable[[Sequence[Window]], bool]
    warmup_kimg: tuple[float, ...] = (0.0,)
    """Images, in thousands, at the start of each level that are not watched; neither is a fade-in."""
    grace: float = 0.1
    """Share of the level's watched images, of at most `SHARED_NIMG`, whose windows are not passed to the rule."""
    stops: bool = True
    """Whether a search ends a trial that raises the alarm; otherwise the alarm is only reported."""


@dataclass(frozen=True)
class Raised:
    """An alarm that was raised, at the end of the first window that did so."""

    name: str
    nimg: int
    sentence: str
    """The alarm's sentence with the window's means."""
    stops: bool

    def __str__(self) -> str:
        return f"at {self.nimg / 1000:.1f} kimg: {self.sentence}"


def raised(
    alarms: Iterable[Alarm], records: Iterable[Record], schedule: ProgressiveSchedule, tick_nimg: int
) -> tuple[Raised, ...]:
    """Alarms that these ticks raise, each at its first window, in order of nimg; a tick is `tick_nimg` images long."""
    ordered = sorted(records, key=_nimg)
    found = (_first(alarm, ordered, schedule, tick_nimg) for alarm in alarms)
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.nimg))


def _first(alarm: Alarm, records: Sequence[Record], schedule: ProgressiveSchedule, tick_nimg: int) -> Raised | None:
    for segment in schedule.segments:
        shown: list[Window] = []
        for window in _windows(alarm, records, schedule, segment, tick_nimg):
            shown.append(window)
            if alarm.rule(shown):
                means = ", ".join(f"{name} {value:.4g}" for name, value in window.means.items())
                return Raised(alarm.name, window.nimg, f"{alarm.sentence} ({means})", alarm.stops)
    return None


def _windows(
    alarm: Alarm, records: Sequence[Record], schedule: ProgressiveSchedule, segment: Segment, tick_nimg: int
) -> Iterator[Window]:
    """Complete windows of a level after the alarm's grace, consecutive and of equal length; `records` must be sorted."""
    fade_kimg = at_level(schedule.fade_kimg, segment.level) if segment.level else 0.0
    start = segment.start + round(1000 * max(fade_kimg, at_level(alarm.warmup_kimg, segment.level)))
    watched = segment.stop - start
    shared = min(watched, SHARED_NIMG)
    length = max(round(WINDOW_SHARE * shared), WINDOW_TICKS * tick_nimg)
    # A tick is a mean over the images before it, which must all be watched.
    first = start + tick_nimg
    newest = records[-1].nimg if records else 0
    for begin in range(start, min(newest, segment.stop) - length + 1, length):
        if begin - start >= alarm.grace * shared:
            # This runs at every tick of a long run, so the window's ticks are found by bisection.
            ticks = slice(
                bisect_left(records, max(begin + 1, first), key=_nimg), bisect_right(records, begin + length, key=_nimg)
            )
            means = _means(alarm.reads, records[ticks])
            if means is not None:
                yield Window((begin - start) / watched, begin + length, means)


def _nimg(record: Record) -> int:
    return record.nimg


def _means(names: Sequence[str], records: Sequence[Record]) -> dict[str, float] | None:
    """Mean of each metric over the ticks that have it; None if no tick has one of them."""
    values = {name: [v for r in records if (v := r.metrics.get(name)) is not None] for name in names}
    return {name: sum(own) / len(own) for name, own in values.items()} if all(values.values()) else None
