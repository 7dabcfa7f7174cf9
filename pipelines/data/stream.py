"""Ray Data: the windows of the image stream, read from one level's column and cut into one slab per rank.

A slab is one row of a Ray dataset, and its bytes are the rank's share of every batch of the window. Ray deals the slabs
out in turn (preserved order, one row per block, equal split); each carries its name, and the feed refuses a wrong one.
One execution serves the whole run: a new epoch or a new level costs no start-up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from ray.data import ExecutionOptions, ExecutionResources

from alae_core import order
from pipelines.data.shards import Dataset, Split
from pipelines.experiment import Experiment

SPLIT = "train"


def plan(experiment: Experiment, nimg: int) -> list[order.Window]:
    """The windows that a run at `nimg` still has to read, the first possibly begun before it."""
    return list(order.windows(experiment.schedule, experiment.data.window_images, nimg))


@dataclass(frozen=True)
class SlabReader:
    """Turns the number of a window into its slabs; runs in Ray tasks, so it holds only plain values."""

    experiment_json: str
    windows: tuple[order.Window, ...]
    ranks: int

    @cached_property
    def _split(self) -> Split:
        return Dataset.open(self._experiment.data.path).split(SPLIT)

    @cached_property
    def _experiment(self) -> Experiment:
        return Experiment.from_json(self.experiment_json)

    @cached_property
    def _order(self) -> order.StreamOrder:
        return order.StreamOrder(self._split.group_sizes, self._experiment.seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("experiment_json", "windows", "ranks")}

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> Iterator[pa.Table]:
        for index in batch["id"].tolist():
            window = self.windows[index]
            pixels = self._read(window)
            for rank in range(self.ranks):
                yield _slab_row(window, rank, np.ascontiguousarray(pixels[:, rank]))

    def _read(self, window: order.Window) -> NDArray[np.uint8]:
        """uint8 [batches, ranks, images per rank, R, R, C]."""
        rows = self._order.rows(window.start, window.stop)
        pixels = self._split.read(self._experiment.schedule.resolutions[window.level], rows)
        return pixels.reshape(-1, self.ranks, window.batch_size // self.ranks, *pixels.shape[1:])


def training_dataset(experiment: Experiment, nimg: int) -> ray.data.Dataset:
    """The slabs of the rest of the run, in order; `experiment.scaling.workers` to a window."""
    windows = tuple(plan(experiment, nimg))
    # Not range or from_arrow: their tasks reserve a CPU each, whatever cpus_per_data_task says, and wait for it for ever.
    numbers = [{"id": index} for index in range(len(windows))]
    dataset = ray.data.from_items(numbers, override_num_blocks=max(1, len(numbers)))
    # One byte per block: otherwise Ray merges the slabs of a window into one block, which goes to one rank.
    dataset.context.target_max_block_size = 1
    reader = SlabReader(experiment.to_json(), windows, experiment.scaling.workers)
    return dataset.map_batches(reader, batch_size=1, num_cpus=experiment.scaling.cpus_per_data_task)


def execution_options(experiment: Experiment) -> ExecutionOptions:
    """Order kept, and read-ahead bounded."""
    read_ahead = ExecutionResources(object_store_memory=experiment.data.read_ahead_gib * 2**30)
    return ExecutionOptions(preserve_order=True, resource_limits=read_ahead)


def _slab_row(window: order.Window, rank: int, pixels: NDArray[np.uint8]) -> pa.Table:
    offsets = pa.py_buffer(np.array([0, pixels.size], np.int64))
    # Built on the array's own memory: the bytes are copied once, into the object store.
    blob = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)])
    return pa.table({"start": [window.start], "stop": [window.stop], "rank": [rank], "pixels": blob})
