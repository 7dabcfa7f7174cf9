"""Packs one shard: reads its images, writes a temporary Parquet file and uploads it with verification."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.data.format.pyramid import Mapped, Shard, attribute_types, pyramid, schema, to_column, writer_options
from pipelines.data.pack.chunk import Intake, Loaded
from pipelines.data.pack.duplicates import content_hashes, difference_hashes
from pipelines.data.pack.order import Job, Order
from pipelines.data.pack.state import Done, Parameters
from pipelines.sources import Source


@dataclass(frozen=True)
class Plan:
    """The input of every job of a packing; other processes read its arrays in shared memory."""

    source: Source
    orders: dict[str, Order]
    parameters: Parameters
    dest: str

    @property
    def schema(self) -> pa.Schema:
        """The Parquet schema of every shard."""
        parameters = self.parameters
        kinds = attribute_types(self.source.attributes.schema)
        return schema(parameters.resolution, parameters.channels, parameters.encoding, kinds)

    @property
    def total(self) -> int:
        """The number of squares to pack: one or several per image of the source."""
        return sum(map(len, self.orders.values()))

    def rows(self, squares: Order) -> pa.Array:
        """The row in the source of each square's image."""
        return pa.array(squares // self.parameters.windows)

    def names(self, squares: Order) -> pa.ChunkedArray:
        """The names of the squares: the image's name in the source, with `#` and the square's number, from 1, if an
        image has several."""
        names, windows = self.source.index["id"].take(self.rows(squares)), self.parameters.windows
        if windows == 1:
            return names
        return pc.binary_join_element_wise(names, pa.array(squares % windows + 1).cast(pa.string()), "#")


@dataclass(frozen=True)
class Advance:
    """Progress of a job by one row group: `images` squares, of which `rejected` were refused.

    The last one has `done`, the result of the job, and no squares.
    """

    job: Job
    images: int
    rejected: tuple[tuple[str, str], ...] = ()
    done: Done | None = None


def pack_shard(plan: Plan, job: Job, threads: int) -> Iterator[Advance]:
    """Run a job and yield its progress after every row group; it writes the same bytes on every machine.

    It holds in memory the pixels of one row group and the images loaded in advance. Raises StorageError or another
    OSError if the source or the destination fails.
    """
    squares = plan.orders[job.split][job.start : job.stop]
    rejected: list[tuple[str, str]] = []
    notes: Counter[str] = Counter()
    groups: list[int] = []
    with tempfile.TemporaryDirectory(prefix="packing-") as folder:
        file = Path(folder) / "shard.parquet"
        with _writer(plan, file) as writer, _Threads(threads) as pool:
            for table, group in _tables(plan, squares, pool):
                if table.num_rows:
                    writer.write_table(table, row_group_size=table.num_rows)
                    groups.append(table.num_rows)
                rejected += group.rejected
                notes.update(group.notes)
                yield Advance(job, group.images, group.rejected)
        shard = _publish(plan, job, file, groups) if groups else None
    yield Advance(job, 0, done=Done(shard, tuple(rejected), dict(notes)))


class _Threads(ThreadPoolExecutor):
    """A pool that cancels waiting tasks when its block ends."""

    def __exit__(self, *raised: object) -> None:
        self.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Group:
    images: int
    rejected: tuple[tuple[str, str], ...]
    notes: Counter[str]


def _tables(plan: Plan, squares: Order, pool: ThreadPoolExecutor) -> Iterator[tuple[pa.Table, _Group]]:
    """Yield the table of each row group, which may be empty, and the outcome of its squares."""
    asked = plan.parameters
    intake = Intake(plan.source, asked.resolution, asked.square, asked.windows, asked.min_deviation)
    images = intake.load(squares, pool)
    for start in range(0, len(squares), asked.rows_per_group):
        members = squares[start : start + asked.rows_per_group]
        loaded = list(islice(images, len(members)))
        usable = np.array([image.pixels is not None for image in loaded])
        reasons = [image.reason for image in loaded if image.pixels is None]
        rejected = tuple(zip(plan.names(members[~usable]).to_pylist(), reasons, strict=True))
        notes = Counter(note for image in loaded for note in image.notes)
        yield _table(plan, members[usable], loaded, pool.map), _Group(len(members), rejected, notes)


def _table(plan: Plan, squares: Order, loaded: Sequence[Loaded], mapped: Mapped) -> pa.Table:
    if not len(squares):
        return plan.schema.empty_table()
    levels = pyramid(np.stack([image.pixels for image in loaded if image.pixels is not None]))
    finest = levels[plan.parameters.resolution]
    rows = plan.rows(squares)
    known = [column.take(rows) for column in (plan.source.index["label"], *plan.source.attributes.columns)]
    described = [plan.names(squares), *known]
    hashed = [content_hashes(finest), pa.array(difference_hashes(levels))]
    pixels = [to_column(levels[size], plan.parameters.encoding, mapped) for size in sorted(levels)]
    return pa.Table.from_arrays([*described, *hashed, *pixels], schema=plan.schema)


def _writer(plan: Plan, file: Path) -> pq.ParquetWriter:
    parameters, written = plan.parameters, plan.schema
    options = writer_options(parameters.resolution, parameters.encoding, written.names)
    return pq.ParquetWriter(file, written, **options)


def _publish(plan: Plan, job: Job, file: Path, groups: Sequence[int]) -> Shard:
    digest = storage.upload_verified(file, storage.join(plan.dest, job.path))
    return Shard(job.path, sum(groups), tuple(groups), file.stat().st_size, digest)
