"""Follows a run's history from the driver: the controller writes it, this reads each new tick."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.experiment import Experiment
from pipelines.history import Tick, read_history

POLL_S = 0.5


@contextmanager
def follow(history: Path, on_tick: Callable[[Tick], None] | None) -> Iterator[None]:
    """Call `on_tick` for every tick recorded inside the block, from a thread of its own."""
    if on_tick is None:
        yield
        return
    _, offset = read_history(history)
    done = threading.Event()
    thread = threading.Thread(target=_poll, args=(history, offset, on_tick, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _poll(history: Path, offset: int, on_tick: Callable[[Tick], None], done: threading.Event) -> None:
    while True:
        last = done.wait(POLL_S)
        ticks, offset = read_history(history, offset)
        for tick in ticks:
            on_tick(tick)
        if last:
            return


def line(experiment: Experiment, tick: Tick) -> str:
    """One tick for a person: kimg, level, blend, losses, rate, waiting, time left."""
    total = experiment.schedule.total_nimg
    value = {name: number for name, number in tick.metrics.items() if number is not None}
    losses = "  ".join(f"{name} {number:.3f}" for name, number in value.items() if _is_term(name))
    rate = value.get("time/images_per_s", 0.0)
    left = (total - tick.nimg) / rate if rate else 0.0
    return (
        f"{tick.nimg / 1000:8.2f}/{total / 1000:.0f} kimg  {int(value['progress/resolution']):4d}px "
        f"blend {value['progress/blend']:.2f}  {losses}  {rate:.0f} img/s  "
        f"wait {value.get('time/data_wait_frac', 0.0):.1%}  ETA {int(left) // 60}:{int(left) % 60:02d}"
    )


def _is_term(name: str) -> bool:
    return name.partition("/")[0] not in ("progress", "time", "memory", "system")
