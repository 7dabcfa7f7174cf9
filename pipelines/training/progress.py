"""Follows a run from the driver: each new tick of its history, each new evaluation and each alarm."""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from alae_core.alarms import Raised
from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import best_metric
from pipelines.runs.evaluations import Evaluation, EvaluationError, list_evaluations, read_evaluation
from pipelines.runs.history import Tick, read_history
from pipelines.runs.monitor import Watch
from pipelines.runs.results import readable
from pipelines.runs.run import Run
from pipelines.training.meter import LOSS

log = logging.getLogger(__name__)

POLL_S = 0.5
WIDTH = 110
"""Longest line in characters; the screen puts the time before it."""
HEADING_EVERY = 20
GAP = "  "
COLUMNS = (4, 5, 5, 4, 7)
"""Widths of px, blend, img/s, wait and left."""
LOSS_WIDTH = 7


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


class Table:
    """The ticks of a run as lines of aligned columns, at most `WIDTH` characters each; a heading stands above every twenty."""

    def __init__(self, experiment: Experiment) -> None:
        self._total = experiment.schedule.total_nimg
        self._decimals = max(0, math.ceil(-math.log10(experiment.training.tick_kimg)))
        self._losses: dict[str, None] = {}
        self._since_heading = HEADING_EVERY

    def lines(self, tick: Tick) -> list[str]:
        """One line for a tick (kimg, px, blend, whole loss of each update, rate, waiting, time left), below a heading if due."""
        found = dict.fromkeys(name for name in tick.metrics if name.startswith(LOSS))
        if not found.keys() <= self._losses.keys():
            self._losses |= found
            self._since_heading = HEADING_EVERY
        self._since_heading += 1
        row = self._row(tick)
        if self._since_heading <= HEADING_EVERY:
            return [row]
        self._since_heading = 1
        return [self._heading(), row]

    def _shown(self) -> list[str]:
        """The losses that fit into a line."""
        fixed = len(self._joined(*(" " * width for width in (self._kimg_width, *COLUMNS))))
        names, used = [], fixed
        for name in self._losses:
            used += max(len(name.removeprefix(LOSS)), LOSS_WIDTH) + len(GAP)
            if used <= WIDTH:
                names.append(name)
        return names

    @property
    def _kimg_width(self) -> int:
        return 2 * len(self._kimg(self._total)) + len("/")

    def _kimg(self, nimg: int) -> str:
        return f"{nimg / 1000:.{self._decimals}f}"

    def _joined(self, *cells: str) -> str:
        return GAP.join(cells)

    def _heading(self) -> str:
        names = [name.removeprefix(LOSS) for name in self._shown()]
        titles = [f"{name:>{max(len(name), LOSS_WIDTH)}}" for name in names]
        fixed = [
            f"{title:>{width}}" for title, width in zip(("px", "blend", "img/s", "wait", "left"), COLUMNS, strict=True)
        ]
        return self._joined(f"{'kimg':>{self._kimg_width}}", *fixed[:2], *titles, *fixed[2:])

    def _row(self, tick: Tick) -> str:
        value = {name: number for name, number in tick.metrics.items() if number is not None}
        rate = value.get("time/images_per_s", 0.0)
        left = _clock((self._total - tick.nimg) / rate) if rate else ""
        fixed = (f"{int(value['progress/resolution'])}", f"{value['progress/blend']:.2f}", f"{rate:.0f}")
        cells = [f"{cell:>{width}}" for cell, width in zip((*fixed, _share(value), left), COLUMNS, strict=True)]
        losses = [f"{_loss(value, name):>{max(len(name.removeprefix(LOSS)), LOSS_WIDTH)}}" for name in self._shown()]
        place = f"{self._kimg(tick.nimg)}/{self._kimg(self._total)}"
        skipped = value.get("data/skipped_images")
        return self._joined(f"{place:>{self._kimg_width}}", *cells[:2], *losses, *cells[2:]) + (
            f"{GAP}skipped {skipped:g} images" if skipped else ""
        )


def _share(value: Mapping[str, float]) -> str:
    return f"{value.get('time/data_wait_frac', 0.0):.0%}"


def _loss(value: Mapping[str, float], name: str) -> str:
    if name not in value:
        return ""
    return f"{value[name]:.3f}" if abs(value[name]) < 1000 else f"{value[name]:.4g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def evaluation_line(experiment: Experiment, evaluation: Evaluation) -> str:
    """The metrics of a new evaluation with error bars and directions, the deciding one first, in `WIDTH` characters."""
    found = {key: each for key, each in readable(evaluation).items() if key not in each.protocol.baselines}
    deciding = best_metric(experiment)
    line = f"evaluated at {evaluation.nimg / 1000:g} kimg:"
    for count, key in enumerate(sorted(found, key=lambda key: key != deciding)):
        side = found[key].protocol.row.better
        item = f"{key} {found[key].estimate}" + ("" if side == "neither" else f" ({side} is better)")
        if count and len(line) + len(item) + 2 > WIDTH:
            break
        line += f"{', ' if count else ' '}{item}"
    return line if found else f"{line} pages only"
