"""The image stream as a Ray dataset: one read task per span of the stream, and one row per slab, that is, per rank.

Ray deals out the slabs in turn (preserved order, one row per block, equal split). Each slab carries its span and rank,
and the feed refuses a wrong one. An execution serves the next SPANS_AT_ONCE spans, independent of epochs and levels,
and begins before the slabs of the previous execution are used up.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import DataIterator, ExecutionOptions, ExecutionResources
from ray.exceptions import RayTaskError

from alae_core.order import Span, spans
from pipelines.data.domains import open_datasets
from pipelines.data.feed.slab_tasks import Slabs
from pipelines.data.feed.slabs import SlabReader
from pipelines.experiment import Experiment

SPLIT = "train"
SPANS_AT_ONCE = 2000
"""Spans in one execution of Ray Data: a hundred thousand images at the finest level, millions at coarse levels."""
SLABS_AHEAD = 3
"""Number of slabs brought to the worker's machine in advance; the next execution begins at the last but two."""


def plan(experiment: Experiment, nimg: int) -> Iterator[Span]:
    """The spans that a run at image `nimg` still has to read; the first may begin before `nimg`."""
    return _planned(experiment, nimg)()


def _planned(experiment: Experiment, nimg: int) -> Callable[[], Iterator[Span]]:
    """`plan` as a function for the planning process; the experiment itself would make that process import torch."""
    channels = experiment.domains * experiment.algorithm.channels
    return partial(spans, experiment.schedule, experiment.data.window_images, channels, nimg)


def slab_reader(experiment: Experiment) -> SlabReader:
    """The reader of an experiment's datasets for its tasks; raises ValueError if a dataset does not exist."""
    return SlabReader(
        splits=tuple(dataset.split(SPLIT) for dataset in open_datasets(experiment.data.path, experiment.domains)),
        seed=experiment.seed,
        ranks=experiment.scaling.workers,
        damaged=experiment.data.damaged,
        threads=max(1, int(experiment.scaling.cpus_per_data_task)),
    )


def training_dataset(experiment: Experiment, nimg: int) -> ray.data.Dataset:
    """The slabs of the rest of the run from image `nimg`, in order; `experiment.scaling.workers` slabs per span."""
    planned = _planned(experiment, nimg)
    dataset = ray.data.read_datasource(
        Slabs(slab_reader(experiment), planned, SPANS_AT_ONCE),
        num_cpus=experiment.scaling.cpus_per_data_task,
        override_num_blocks=max(1, sum(1 for _ in islice(planned(), SPANS_AT_ONCE))),
    )
    # One byte per block: otherwise Ray merges the slabs of a span into one block, and one rank gets them all.
    dataset.context.target_max_block_size = 1
    return dataset


def execution_options(experiment: Experiment) -> ExecutionOptions:
    """Options that preserve the order and limit the read-ahead to `data.read_ahead_gib`."""
    read_ahead = ExecutionResources(object_store_memory=experiment.data.read_ahead_gib * 2**30)
    return ExecutionOptions(preserve_order=True, resource_limits=read_ahead)


def slabs(shard: DataIterator, end: int) -> Iterator[pa.Table]:
    """Yield a rank's slabs up to image `end` of the run, in order, fetched in advance by a thread.

    Raises RuntimeError with the message of a failed task. Ends early only if the dataset ends early.
    """
    coming = _executions(shard, end)
    thread = ThreadPoolExecutor(1, "slabs")
    ahead = deque(thread.submit(next, coming, None) for _ in range(SLABS_AHEAD))
    try:
        while (slab := ahead.popleft().result()) is not None:
            ahead.append(thread.submit(next, coming, None))
            yield slab
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def _executions(shard: DataIterator, end: int) -> Iterator[pa.Table]:
    """Yield the slabs of one execution after the other."""
    done, before = 0, -1
    while before < done < end:
        before = done
        for slab in _execution(shard):
            if (start := slab["start"][0].as_py()) < done:
                raise RuntimeError(f"Ray Data restarted at image {start:,} of the run, after {done:,}")
            done = slab["stop"][0].as_py()
            yield slab


def _execution(shard: DataIterator) -> Iterator[pa.Table]:
    whole: Any = None  # a batch is a block; the type hint of iter_batches does not allow None
    try:
        yield from shard.iter_batches(batch_size=whole, batch_format="pyarrow", prefetch_batches=1)
    except RayTaskError as error:
        # After the task's own message, Ray Data appends lines about its retries.
        sentence, *_ = str(error.cause).splitlines() or [""]
        raise RuntimeError(f"a task that reads images failed: {type(error.cause).__name__}: {sentence}") from error
