"""Cost of an execution of Ray Data before its first slab, by the number of spans that it serves.

    python -m benchmarks.execution_start PACKED

PACKED is a packed dataset with images of 64 px. Prints a Markdown table.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import psutil
import ray

from alae_core.order import sizes
from benchmarks.feed import ours
from pipelines import presets
from pipelines.data.feed import stream

SIDE = 64
SPANS = (20, 200, 2_000, 20_000)


def start(packed: str, at_once: int) -> tuple[float, float]:
    """Seconds to the first slab of a run of more than `at_once` spans, and MiB that the planning process uses then."""
    stream.SPANS_AT_ONCE = at_once
    _, span = sizes(SIDE, ours.BATCH, presets.load(ours.PRESET).data.window_images, ours.CHANNELS)
    wanted = ours.experiment(packed, (SIDE,), (2.0 * at_once * span,))
    ours.start_ray()
    try:
        slabs = stream.slabs(ours.shard(wanted), wanted.schedule.total_nimg)
        began = time.perf_counter()
        next(slabs)
        took = time.perf_counter() - began
        return took, max(_planners(), default=0.0)
    finally:
        ray.shutdown()


def _planners() -> list[float]:
    processes = psutil.Process().children(recursive=True)
    planners = [process for process in processes if "SplitCoordinator" in " ".join(process.cmdline())]
    return [process.memory_info().rss / 2**20 for process in planners]


def main() -> None:
    """Print the table; a separate process measures each line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("--spans", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.spans:
        took, memory = start(str(options.packed), options.spans)
        print(f"| {options.spans:,} | {took:.1f} | {memory:,.0f} |")
        return
    print("| spans of an execution | seconds to the first slab | MiB of the process that plans |\n| --- | --- | --- |")
    for spans in SPANS:
        command = [sys.executable, "-m", "benchmarks.execution_start", str(options.packed), "--spans", str(spans)]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
