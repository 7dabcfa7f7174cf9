"""Packs one shard: reads its images, writes a temporary Parquet file and uploads it, verified."""

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
    """What every job of a packing needs; other processes read its arrays in shared memory."""

    source: Source
    orders: dict[str, Order]
    parameters: Parameters
    dest: str

    @property
    def schema(self) -> pa.Schema:
        """Of every shard."""
        parameters = self.parameters
        kinds = attribute_types(self.source.attributes.schema)
        return schema(parameters.resolution, parameters.channels, parameters.encoding, kinds)

    @property
    def total(self) -> int:
        """How many squares are asked for: one of each image of the source, or several."""
        return sum(map(len, self.orders.values()))

    def rows(self, squares: Order) -> pa.Array:
        """Of each square the row of its image in the source."""
        return pa.array(squares // self.parameters.windows)

    def names(self, squares: Order) -> pa.ChunkedArray:
        """What the source calls their images; where each gives several, with the number of the square, from 1."""
        names, windows = self.source.index["id"].take(self.rows(squares)), self.parameters.windows
        if windows == 1:
            return names
        return pc.binary_join_element_wise(names, pa.array(squares % windows + 1).cast(pa.string()), "#")


@dataclass(frozen=True)
class Advance:
    """A row group further: so many squares of images, and which of them were rejected; `done` with the last."""

    job: Job
    images: int
    rejected: tuple[tuple[str, str], ...] = ()
    done: Done | None = None


def pack_shard(plan: Plan, job: Job, threads: int) -> Iterator[Advance]:
    """Does a job, telling of every row group; the same bytes wherever and whenever it runs.

    Holds a row group of pixels and the images loaded ahead. Raises StorageError and the like where source or
    destination fail.
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
    """A pool that, left early, forgets what has not begun."""

    def __exit__(self, *raised: object) -> None:
        self.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Group:
    images: int
    rejected: tuple[tuple[str, str], ...]
    notes: Counter[str]


def _tables(plan: Plan, squares: Order, pool: ThreadPoolExecutor) -> Iterator[tuple[pa.Table, _Group]]:
    """For each row group its table, which may be empty, and what became of the squares meant for it."""
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
