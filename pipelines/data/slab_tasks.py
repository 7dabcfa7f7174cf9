"""Spans of the stream as Ray Data's read tasks. Without torch, so that the processes which plan and read start quickly."""

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import ray
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from alae_core.order import Span
from pipelines.data.slabs import SlabReader


class Slabs(Datasource):
    """Reads each of the planned spans in a task of its own."""

    def __init__(self, reader: SlabReader, planned: list[Span]) -> None:
        super().__init__()
        self._reader = reader
        self._planned = planned

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown to Ray Data, which would choose a number of blocks by it."""
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """One task for each span, whatever `parallelism` says; the reader lies once in the object store."""
        reader = ray.put(self._reader)
        metadata = BlockMetadata(num_rows=self._reader.ranks, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(_read, reader, span), metadata) for span in self._planned]


def _read(reader: ray.ObjectRef, span: Span) -> Iterator[pa.Table]:
    yield from _kept(reader).read(span)


@lru_cache(maxsize=4)
def _kept(reader: ray.ObjectRef) -> SlabReader:
    """The reader, kept by the process with its open files and its memory."""
    return ray.get(reader)
