"""What an execution of Ray Data costs before its first slab, by the number of spans that it serves.

    python -m benchmarks.execution_start PACKED

PACKED is a packed dataset with images of 64 px. Prints a Markdown table.
"""

import argparse
import time
from pathlib import Path

import psutil
import ray

from alae_core.order import sizes
from benchmarks.feed import ours
from pipelines import presets
from pipelines.data import stream

SIDE = 64
SPANS = (20, 200, 2_000, 20_000)


def start(packed: str, at_once: int) -> tuple[float, float]:
    """Seconds to the first slab of a run of more than `at_once` spans, and MiB of the process that plans by then."""
    stream.SPANS_AT_ONCE = at_once
    _, span = sizes(SIDE, ours.BATCH, presets.load(ours.PRESET).data.window_images, ours.CHANNELS)
    wanted = ours.experiment(packed, (SIDE,), (2.0 * at_once * span,))
    ours.start_ray()
    try:
        slabs = stream.slabs(ours.shard(wanted), wanted.schedule.total_nimg)
        began = time.perf_counter()
        next(slabs)
        took = time.perf_counter() - began
        return took, max(_planners())
    finally:
        ray.shutdown()


def _planners() -> list[float]:
    found = [0.0]
    for process in psutil.Process().children(recursive=True):
        if "SplitCoordinator" in " ".join(process.cmdline()):
            found.append(process.memory_info().rss / 2**20)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    packed = str(parser.parse_args().packed)
    print("| spans of an execution | seconds to the first slab | MiB of the process that plans |\n| --- | --- | --- |")
    for at_once in SPANS:
        took, memory = start(packed, at_once)
        print(f"| {at_once:,} | {took:.1f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
