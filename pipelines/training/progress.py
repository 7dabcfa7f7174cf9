"""Follows a run from the driver: each new tick of its history, each new evaluation and each alarm."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alae_core.alarms import Raised
from pipelines.experiment import Experiment
from pipelines.runs.evaluations import Evaluation, EvaluationError, list_evaluations, read_evaluation
from pipelines.runs.history import Tick, read_history
from pipelines.runs.monitor import Watch
from pipelines.runs.run import Run

log = logging.getLogger(__name__)

POLL_S = 0.5
LOSS_FREE = ("progress", "time", "memory", "system", "data")


@contextmanager
def follow(
    run: Run,
    on_tick: Callable[[Tick], None] | None,
    on_evaluation: Callable[[Evaluation], None] | None,
    watch: Watch | None = None,
    on_alarm: Callable[[Raised], None] | None = None,
) -> Iterator[None]:
    """Call back, from a thread of its own, for every tick and evaluation that is written inside the block.

    `on_alarm` gets every alarm that `watch` finds in the new ticks and had not found before.
    """
    follower = _Follower(run, on_tick, on_evaluation, watch, on_alarm)
    follower.start()
    try:
        yield
    finally:
        follower.finish()


class _Follower(threading.Thread):
    def __init__(
        self,
        run: Run,
        on_tick: Callable[[Tick], None] | None,
        on_evaluation: Callable[[Evaluation], None] | None,
        watch: Watch | None,
        on_alarm: Callable[[Raised], None] | None,
    ) -> None:
        super().__init__(name="follow", daemon=True)
        self._watch, self._on_alarm = watch, on_alarm
        self._known = {alarm.name for alarm in watch.alarms()} if watch else set()
        self._followed, self._on_tick, self._on_evaluation = run, on_tick, on_evaluation
        _, self._offset = read_history(run.history)
        self._seen = set(list_evaluations(run.url, own=True)) if on_evaluation else set()
        self._done = threading.Event()

    def finish(self) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while True:
            last = self._done.wait(POLL_S)
            if self._on_tick:
                ticks, self._offset = read_history(self._followed.history, self._offset)
                for tick in ticks:
                    self._on_tick(tick)
            if self._watch and self._on_alarm:
                for alarm in self._watch.alarms():
                    if alarm.name not in self._known:
                        self._known.add(alarm.name)
                        self._on_alarm(alarm)
            if self._on_evaluation:
                for path in sorted(set(list_evaluations(self._followed.url, own=True)) - self._seen):
                    self._seen.add(path)
                    self._report(self._on_evaluation, path)
            if last:
                return

    def _report(self, on_evaluation: Callable[[Evaluation], None], path: str) -> None:
        try:
            evaluation = read_evaluation(self._followed.url, path)
        except EvaluationError as error:
            log.warning("%s", error)
            return
        on_evaluation(evaluation)


def line(experiment: Experiment, tick: Tick) -> str:
    """One tick for a person: kimg, level, blend, losses, rate, waiting, time left."""
    total = experiment.schedule.total_nimg
    value = {name: number for name, number in tick.metrics.items() if number is not None}
    terms = (name for name in value if name.partition("/")[0] not in LOSS_FREE)
    losses = "  ".join(f"{name} {value[name]:.3f}" for name in terms)
    rate = value.get("time/images_per_s", 0.0)
    skipped = f"  skipped {value['data/skipped_images']} images" if value.get("data/skipped_images") else ""
    left = int((total - tick.nimg) / rate) if rate else 0
    return (
        f"{tick.nimg / 1000:8.2f}/{total / 1000:.0f} kimg  {int(value['progress/resolution']):4d} px  "
        f"blend {value['progress/blend']:.2f}  {losses}  {rate:.0f} img/s  "
        f"wait {value.get('time/data_wait_frac', 0.0):.1%}  ETA {left // 60}:{left % 60:02d}{skipped}"
    )
