"""Packs shards in Ray Data tasks, one at a time on each CPU of all nodes of the cluster.

A task streams a row for every row group that it has packed, so that the driver knows its progress. A lost task runs
again, and its shard has the same bytes.
"""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from logging import StreamHandler
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from pydantic import TypeAdapter
from ray.exceptions import RayError

from pipelines import storage
from pipelines.data.pack.job import Advance, Plan, pack_shard
from pipelines.data.pack.order import Job
from pipelines.ray_connection import connect
from pipelines.sources import CHUNKS_AT_ONCE

THREADS = 4  # threads of a task; they mostly wait for the source

_EVENTS = TypeAdapter(Advance)

log = logging.getLogger(__name__)


def pack_on_ray(plan: Plan, jobs: Sequence[Job]) -> Iterator[Advance]:
    """Run the jobs on the connected cluster, or on a local one, and yield their progress as it arrives.

    Raises ValueError if the source or the destination fails, and RuntimeError if Ray fails.
    """
    connect()
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < 1:
        raise ValueError("the Ray cluster has no CPU to pack with; add a node with CPUs, or use --executor here")
    local = storage.is_local(plan.source.name) and storage.exists(plan.source.name)
    task = _Task(ray.put(plan), tuple(jobs), local, Path.cwd())
    images = plan.parameters.rows_per_shard / plan.parameters.windows  # images per shard
    tasks = _tasks(len(jobs), images, plan.source.chunks, cpus)
    try:
        with _silent_console():
            for row in _dataset(task, len(jobs), tasks).iter_rows():
                if row["failure"]:
                    raise {"value": ValueError, "other": RuntimeError}[row["failure"]](row["event"])
                yield _EVENTS.validate_json(row["event"])
    except RayError as error:
        raise RuntimeError(f"packing failed on Ray: {str(error).strip().splitlines()[-1]}") from error


def _tasks(jobs: int, images: float, chunks: NDArray[np.int64] | None, cpus: int) -> int:
    """The number of tasks: one per job, or, if the source has chunks, one per window of CHUNKS_AT_ONCE chunks.

    One task then packs all shards of a window and reads each of its chunks only once.
    """
    if chunks is None:
        return jobs
    images_in_window = len(chunks) / (chunks[-1] + 1) * CHUNKS_AT_ONCE
    windows = math.ceil(jobs * images / images_in_window)
    return min(jobs, max(windows, cpus))  # reading a chunk more than once costs less than an idle CPU


def _dataset(task: "_Task", jobs: int, tasks: int) -> ray.data.Dataset:
    numbers = ray.data.from_items([{"number": number} for number in range(jobs)], override_num_blocks=tasks)
    numbers.context.enable_progress_bars = False
    # One block per row, so that each row leaves its task when it is made.
    numbers.context.target_max_block_size = 1
    return numbers.map_batches(task, batch_size=None, num_cpus=1)


@contextmanager
def _silent_console() -> Iterator[None]:
    """Silence Ray Data on the terminal, where it would break the progress bar; its log file stays.

    A failure is still reported, as our own error.
    """
    consoles = [handler for handler in logging.getLogger("ray.data").handlers if isinstance(handler, StreamHandler)]
    levels = [handler.level for handler in consoles]
    try:
        for handler in consoles:
            handler.setLevel(logging.CRITICAL)
        yield
    finally:
        for handler, level in zip(consoles, levels, strict=True):
            handler.setLevel(level)


@dataclass(frozen=True)
class _Task:
    """Runs the jobs with the numbers in a batch, in Ray's processes."""

    plan: ray.ObjectRef
    jobs: tuple[Job, ...]
    local: bool  # whether the source is a file or folder on the driver's node
    folder: Path  # the folder that relative paths start from

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> Iterator[pa.Table]:
        with chdir(self.folder) if self.folder.is_dir() else nullcontext():
            try:
                yield from map(_row, self._pack(batch["number"].tolist()))
            except ValueError as error:
                yield _row(str(error), failure="value")
            except Exception as error:
                log.exception("a packing task failed")
                yield _row(f"packing failed: {error or type(error).__name__}", failure="other")

    def _pack(self, numbers: list[int]) -> Iterator[str]:
        plan: Plan = ray.get(self.plan)
        self._require_source(plan)
        for number in numbers:
            for advance in pack_shard(plan, self.jobs[number], THREADS):
                yield json.dumps(asdict(advance))

    def _require_source(self, plan: Plan) -> None:
        if self.local and not storage.exists(plan.source.name):
            node: Any = ray.util.get_node_ip_address()
            raise storage.StorageNotFoundError(
                f"source {plan.source.name} is not on node {node}; move it where all nodes can read it (an object "
                "store, a shared disk), or pack on this machine with --executor here"
            )


def _row(event: str, failure: str = "") -> pa.Table:
    return pa.table({"event": [event], "failure": [failure]})
