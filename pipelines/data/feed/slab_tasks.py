"""Spans of the stream as Ray Data's read tasks. Without torch, so that the processes which plan and read start quickly."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import pyarrow as pa
import ray
from ray.data import DataContext
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from alae_core.order import Span
from pipelines.data.feed.slabs import SlabReader


class Slabs(Datasource):
    """Reads each span in a task of its own; every execution of the dataset reads the next `at_once` of them.

    Ray Data makes all tasks of an execution before it starts the first: for all spans of a long run that takes minutes.
    """

    def __init__(self, reader: SlabReader, spans: Callable[[], Iterator[Span]], at_once: int) -> None:
        super().__init__()
        self._reader, self._spans, self._at_once = reader, spans, at_once
        self._rest: Iterator[Span] | None = None

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown to Ray Data, which would choose a number of blocks by it."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """The tasks of the next execution; where Ray Data only asks how many there would be, as many as it wishes."""
        metadata = BlockMetadata(num_rows=self._reader.ranks, size_bytes=None, input_files=None, exec_stats=None)
        if data_context is None:  # nothing is executed without one
            return [ReadTask(list, metadata)] * parallelism
        if self._rest is None:
            self._rest = self._spans()
        reader = ray.put(self._reader)
        return [ReadTask(partial(_read, reader, span), metadata) for span in islice(self._rest, self._at_once)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rest": None}


def _read(reader: ray.ObjectRef, span: Span) -> Iterator[pa.Table]:
    yield from _kept(reader).read(span)


@lru_cache(maxsize=4)
def _kept(reader: ray.ObjectRef) -> SlabReader:
    """The reader, kept by the process with its open files and its memory."""
    return ray.get(reader)
