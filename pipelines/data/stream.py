"""The image stream as a Ray dataset: a read task per span of the stream, a row per rank's slab of it.

Ray deals the slabs out in turn (preserved order, one row per block, equal split); each carries its name, and the feed
refuses a wrong one. One execution serves the whole run: a new epoch or a new level costs no start-up.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import DataIterator, ExecutionOptions, ExecutionResources
from ray.exceptions import RayTaskError

from alae_core.order import Span, spans
from pipelines.data.shards import Dataset
from pipelines.data.slab_tasks import Slabs
from pipelines.data.slabs import SlabReader
from pipelines.experiment import Experiment

SPLIT = "train"
PREFETCHED_SLABS = 2
"""Brought to the worker's machine before they are needed."""


def plan(experiment: Experiment, nimg: int) -> list[Span]:
    """The spans that a run at `nimg` still has to read, the first possibly begun before it."""
    return list(spans(experiment.schedule, experiment.data.window_images, experiment.algorithm.channels, nimg))


def slab_reader(experiment: Experiment) -> SlabReader:
    """Opens the dataset of an experiment for its tasks; raises ValueError if it is not there."""
    return SlabReader(
        split=Dataset.open(experiment.data.path).split(SPLIT),
        seed=experiment.seed,
        ranks=experiment.scaling.workers,
        damaged=experiment.data.damaged,
        threads=max(1, int(experiment.scaling.cpus_per_data_task)),
    )


def training_dataset(experiment: Experiment, nimg: int) -> ray.data.Dataset:
    """The slabs of the rest of the run, in order; `experiment.scaling.workers` to a span."""
    planned = plan(experiment, nimg)
    dataset = ray.data.read_datasource(
        Slabs(slab_reader(experiment), planned),
        num_cpus=experiment.scaling.cpus_per_data_task,
        override_num_blocks=max(1, len(planned)),
    )
    # One byte per block: otherwise Ray merges the slabs of a span into one block, which goes to one rank.
    dataset.context.target_max_block_size = 1
    return dataset


def execution_options(experiment: Experiment) -> ExecutionOptions:
    """Order kept, and read-ahead bounded."""
    read_ahead = ExecutionResources(object_store_memory=experiment.data.read_ahead_gib * 2**30)
    return ExecutionOptions(preserve_order=True, resource_limits=read_ahead)


def slabs(shard: DataIterator) -> Iterator[pa.Table]:
    """A rank's slabs from its share of the dataset, in order; raises RuntimeError with the sentence of a failed task."""
    whole: Any = None  # a batch is a block; the hint of iter_batches does not know it
    try:
        yield from shard.iter_batches(batch_size=whole, batch_format="pyarrow", prefetch_batches=PREFETCHED_SLABS)
    except RayTaskError as error:
        # Below the task's own words, Ray Data writes some about its retries.
        sentence, *_ = str(error.cause).splitlines() or [""]
        raise RuntimeError(f"a task that reads images failed: {type(error.cause).__name__}: {sentence}") from error
