"""Time that a worker waits for data, measured by our feed, while its device takes a fixed time for each batch."""

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.data import DataIterator

from benchmarks.feed.measure import answer, cpu_seconds
from benchmarks.feed.ours import BATCH, CPUS, experiment, feed, shard, slabs, start_ray
from pipelines.experiment import Experiment

AROUND = 50  # steps on either side of a change of level
READERS = 1


@dataclass(frozen=True)
class Waits:
    """Seconds to the first batch, waiting times of later batches, total seconds, and CPU seconds."""

    start_s: float
    each_s: NDArray[np.float64]
    seconds: float
    cpu_s: float


@ray.remote(num_cpus=CPUS - READERS)
class Worker:
    """Actor that sleeps instead of a run's worker waiting for its device."""

    def waits(self, own: DataIterator, wanted: Experiment, step_s: float, root: int) -> Waits:
        """Waiting times that the feed reports after each step; CPU seconds are counted over the process tree of `root`."""
        ready = feed(slabs(own, wanted.schedule.total_nimg), wanted)
        start_s = ready.start()
        began, cpu, total = time.perf_counter(), cpu_seconds(root), [0.0]
        for _ in range(wanted.schedule.total_nimg // BATCH):
            ready.next()
            total.append(ready.waited_s)
            time.sleep(step_s)
        return Waits(start_s, np.diff(total), time.perf_counter() - began, cpu_seconds(root) - cpu)


def run(path: str, sides: list[int], images: list[int], step_s: float) -> dict[str, Any]:
    """Measure a schedule of `images` at each of two `sides`, with device steps of `step_s` per batch."""
    wanted = experiment(path, tuple(sides), tuple(images))
    start_ray()
    try:
        worker = Worker.remote()  # type: ignore[attr-defined]
        return _summary(ray.get(worker.waits.remote(shard(wanted), wanted, step_s, os.getpid())), wanted)
    finally:
        ray.shutdown()


def _summary(found: Waits, wanted: Experiment) -> dict[str, Any]:
    waits, switch = found.each_s, wanted.schedule.segments[0].stop // BATCH
    around = waits[switch - AROUND : switch + AROUND]
    return {
        "start_s": found.start_s,
        "seconds": found.seconds,
        "cpu_s": found.cpu_s,
        "steps": len(waits),
        "images_per_s": len(waits) * BATCH / found.seconds,
        "wait_fraction": float(waits.sum() / found.seconds),
        "longest_wait_ms": 1000 * float(waits.max()),
        "longest_at_step": int(waits.argmax()),
        "steps_over_1_ms": int((waits > 1e-3).sum()),
        "switch_at_step": switch,
        "switch_wait_ms": 1000 * float(waits[switch]),
        "around_switch_wait_ms": 1000 * float(around.sum()),
        "around_switch_longest_ms": 1000 * float(around.max()),
    }


if __name__ == "__main__":
    answer(run)
