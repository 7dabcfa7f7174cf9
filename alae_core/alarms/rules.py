"""Alarms: signs in a run's ticks that its training goes wrong, each with a sentence for a person.

A rule reads means over windows of one level, never a single tick, and nothing but ticks: a resumed run raises the same.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from alae_core.schedule import ProgressiveSchedule, Segment, at_level

WINDOW_SHARE = 0.05
"""Of a level's watched images: of those after its fade and warm-up."""
SHARED_NIMG = 3_000_000
"""Windows and graces are shares of at most so many images, a hundred epochs of 30,000; else a long run would be told late."""
WINDOW_TICKS = 3
"""At least so many ticks make a window."""


class Record(Protocol):
    """What one tick measured: means over the images up to `nimg`."""

    @property
    def nimg(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...


@dataclass(frozen=True)
class Window:
    """Means over the ticks of a stretch of one level."""

    begins: float
    """Share of the level's watched images that came before it, in [0, 1)."""
    nimg: int
    """Images of the run seen by its end."""
    means: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A sign that training goes wrong.

    `rule` is asked at the end of each window, with the windows of the level so far, oldest first; it is pure.
    """

    name: str
    sentence: str
    """What is wrong, and the way out; one sentence without its full stop."""
    reads: tuple[str, ...]
    """Names of the metrics; a window that lacks one is passed over."""
    rule: Callable[[Sequence[Window]], bool]
    warmup_kimg: tuple[float, ...] = (0.0,)
    """By level: thousands of its first images that are not watched. A fade is not watched either."""
    grace: float = 0.1
    """Share of the level's watched images, or of `SHARED_NIMG`, that the rule is not shown."""
    stops: bool = True
    """Whether a search ends a trial for it; else it is only told."""


@dataclass(frozen=True)
class Raised:
    """An alarm, at the first window whose end raised it."""

    name: str
    nimg: int
    sentence: str
    """The alarm's, with the means that raised it."""
    stops: bool

    def __str__(self) -> str:
        return f"at {self.nimg / 1000:.1f} kimg: {self.sentence}"


def alarms_of(config: object) -> tuple[Alarm, ...]:
    """The alarms that an algorithm's Config declares by a method `alarms()`; none without one.

    They belong to the Config, so that whoever watches a run need not build its networks.
    """
    declared = getattr(config, "alarms", None)
    return declared() if declared else ()


def raised(
    alarms: Iterable[Alarm], records: Iterable[Record], schedule: ProgressiveSchedule, tick_nimg: int
) -> tuple[Raised, ...]:
    """Each alarm that these ticks raise, at its first time, in order of nimg; `tick_nimg` images make a tick."""
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
    """The whole windows of a level after the alarm's grace, of equal length, side by side; `records` are in order."""
    fade_kimg = at_level(schedule.fade_kimg, segment.level) if segment.level else 0.0
    start = segment.start + round(1000 * max(fade_kimg, at_level(alarm.warmup_kimg, segment.level)))
    watched = segment.stop - start
    shared = min(watched, SHARED_NIMG)
    length = max(round(WINDOW_SHARE * shared), WINDOW_TICKS * tick_nimg)
    # A tick is a mean over the images before it, none of which may lie before the start.
    first = start + tick_nimg
    newest = records[-1].nimg if records else 0
    for begin in range(start, min(newest, segment.stop) - length + 1, length):
        if begin - start >= alarm.grace * shared:
            # Asked at every tick of a long run: the ticks of a window are looked up, not searched for.
            ticks = slice(
                bisect_left(records, max(begin + 1, first), key=_nimg), bisect_right(records, begin + length, key=_nimg)
            )
            means = _means(alarm.reads, records[ticks])
            if means is not None:
                yield Window((begin - start) / watched, begin + length, means)


def _nimg(record: Record) -> int:
    return record.nimg


def _means(names: Sequence[str], records: Sequence[Record]) -> dict[str, float] | None:
    """The mean of each metric over the ticks that have it; None if one is in no tick."""
    values = {name: [v for r in records if (v := r.metrics.get(name)) is not None] for name in names}
    return {name: sum(own) / len(own) for name, own in values.items()} if all(values.values()) else None
