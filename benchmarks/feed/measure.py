"""Times a stream of batches and counts the CPU seconds of all processes that serve it. Runs in both environments."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

Batch = NDArray[np.uint8]
CACHE_LINE = 64
ERROR_CHARACTERS = 300


def cpu_seconds(root: int) -> float:
    """CPU seconds of process `root` and all its descendants, including those that have ended and were waited for."""
    process = psutil.Process(root)
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            total += sum(member.cpu_times()[:4])  # own user and system, then those of ended children
        except psutil.NoSuchProcess:
            continue
    return total


def touch(batch: Batch) -> None:
    """Read one byte of every cache line, which costs as much as a copy to a device."""
    batch.reshape(-1)[::CACHE_LINE].sum()


def measure(
    batches: Callable[[], Iterator[Batch]],
    seconds: float,
    warm_s: float,
    root: int | None = None,
    unit: int = 1,
) -> dict[str, float]:
    """Steady speed of `batches()`, uint8 [N, R, R, 3] each, measured for about `seconds` after a warm-up of `warm_s`.

    `start_s` is the time from the call to the first batch. `unit` is the number of images that arrive in one burst; only
    complete bursts are measured. `root` is the process whose tree is counted, by default this one. A stream that ends early
    is measured for less time; RuntimeError if it ends within the warm-up.
    """
    root = root or os.getpid()
    began = time.perf_counter()
    stream = batches()
    first = next(stream)
    touch(first)
    start_s = time.perf_counter() - began
    _consume(stream, warm_s, unit, len(first))
    cpu, began = cpu_seconds(root), time.perf_counter()
    images = _consume(stream, seconds, unit)
    elapsed, cpu = time.perf_counter() - began, cpu_seconds(root) - cpu
    if not images:
        raise RuntimeError(f"the stream ended within the warm-up of {warm_s} s")
    return {
        "start_s": start_s,
        "images": images,
        "seconds": elapsed,
        "images_per_s": images / elapsed,
        "cpu_s": cpu,
        "images_per_cpu_s": images / cpu if cpu else float("nan"),
    }


def _consume(stream: Iterator[Batch], seconds: float, unit: int, before: int = 0) -> int:
    """Images that arrive until `seconds` have passed and, with those that came `before`, make complete units."""
    images, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or (before + images) % unit:
        batch = next(stream, None)
        if batch is None:
            break
        touch(batch)
        images += len(batch)
    return images


def answer(case: Callable[..., dict[str, Any]]) -> None:
    """Main function of a module: call `case` with each JSON object of standard input and print one line for each."""
    for options in json.load(sys.stdin):
        try:
            found = case(**options)
        except Exception as error:  # whatever a library raises is a result of the benchmark
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]}
        print("\n" + json.dumps(found), flush=True)
