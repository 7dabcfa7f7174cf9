"""Spans of the stream as read tasks of Ray Data. No import of torch, so that the planning and reading processes start
quickly."""

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
    """Reads each span in one task; every execution of the dataset reads the next `at_once` spans.

    Ray Data makes all tasks of an execution before it starts the first; for all spans of a long run this takes minutes.
    """

    def __init__(self, reader: SlabReader, spans: Callable[[], Iterator[Span]], at_once: int) -> None:
        super().__init__()
        self._reader, self._spans, self._at_once = reader, spans, at_once
        self._rest: Iterator[Span] | None = None

    def estimate_inmemory_data_size(self) -> int | None:
        """None, because Ray Data would choose its number of blocks by an estimate."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """The tasks of the next execution; `parallelism` empty ones if Ray Data only asks for their number."""
        metadata = BlockMetadata(num_rows=self._reader.ranks, size_bytes=None, input_files=None, exec_stats=None)
        if data_context is None:  # Ray Data passes one for every execution
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
    """The reader, cached by the process together with its open files and its memory."""
    return ray.get(reader)
