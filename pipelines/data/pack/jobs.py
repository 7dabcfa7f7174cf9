"""Runs the jobs of a packing and publishes the dataset when all are complete."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from pipelines import storage
from pipelines.data.format.pyramid import (
    DUPLICATES,
    MANIFEST,
    REJECTED,
    SPLITS,
    Kind,
    Labels,
    Manifest,
    Shard,
    SplitShards,
    attribute_types,
    columns,
)
from pipelines.data.pack.duplicates import list_duplicates
from pipelines.data.pack.job import Advance, Plan, pack_shard
from pipelines.data.pack.order import Job, shard_jobs
from pipelines.data.pack.state import STATE, Done, PackingState

Progress = Callable[[int, int], None]
Execute = Callable[[Plan, Sequence[Job]], Iterator[Advance]]
"""Runs jobs in any order and yields the progress of each."""

THREADS = min(16, os.cpu_count() or 1)
SHOWN = 5  # names listed in a message
ENOUGH_REJECTED = 20  # rejected images needed for an early stop, so that the error shows more than the first


def pack_here(plan: Plan, jobs: Sequence[Job]) -> Iterator[Advance]:
    """Run the jobs one after the other on threads of this process."""
    for job in jobs:
        yield from pack_shard(plan, job, THREADS)


def first_few(names: Sequence[str]) -> str:
    """The first five names, for use in a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


@dataclass
class PackingRun:
    """A packing, from its first incomplete job to the manifest."""

    plan: Plan
    state: PackingState
    max_rejected_fraction: float
    progress: Progress | None
    _unusable: int = 0
    _begun: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # rejected of unfinished shards, by path

    def complete(self, execute: Execute) -> Manifest:
        """Run the remaining jobs and publish the dataset; raises ValueError if too many images are unusable."""
        jobs = shard_jobs(self.plan.orders, self.plan.parameters.rows_per_shard)
        left = [job for job in jobs if job.path not in self.state.done]
        packed = self.plan.total - sum(job.images for job in left)
        self._unusable = len(self._rejected)
        self._report(packed)
        for advance in execute(self.plan, left) if left else ():
            packed += advance.images
            self._take(advance)
            self._report(packed)
        return self._publish([job.path for job in jobs])

    def _take(self, advance: Advance) -> None:
        path = advance.job.path
        self._unusable += len(advance.rejected)
        if advance.done is None:
            self._begun.setdefault(path, []).extend(advance.rejected)
        else:
            self._require_shard(advance.done)
            self._begun.pop(path, None)
            self.state.done[path] = advance.done
            storage.write_json_verified(storage.join(self.plan.dest, STATE), self.state.to_json())
        self._refuse_many_rejected(at_least=ENOUGH_REJECTED)

    def _require_shard(self, done: Done) -> None:
        """Refuse a shard that is not here: a task on another node writes a local path to that node's own disk."""
        dest = self.plan.dest
        if done.shard and storage.is_local(dest) and not storage.exists(storage.join(dest, done.shard.path)):
            raise storage.StorageNotFoundError(
                f"{done.shard.path} was packed on another node and is not in {dest} here; name a destination that all "
                "nodes see (an object store, a shared disk), or pack on this machine with --executor here"
            )

    def _report(self, packed: int) -> None:
        if self.progress:
            self.progress(packed, self.plan.total)

    @property
    def _rejected(self) -> list[tuple[str, str]]:
        """The (name, reason) of each image that has been read and cannot be used, sorted."""
        parts = [*(done.rejected for done in self.state.done.values()), *self._begun.values()]
        return sorted(entry for part in parts for entry in part)

    def _refuse_many_rejected(self, at_least: int) -> None:
        images = self.plan.total
        if self._unusable < at_least or self._unusable <= self.max_rejected_fraction * images:
            return
        self._store_rejected()
        examples = first_few([f"{name} ({reason})" for name, reason in self._rejected])
        raise ValueError(
            f"{self._unusable:,} of {images:,} images are unusable, more than "
            f"max_rejected_fraction={self.max_rejected_fraction:g} allows: {examples}; they are listed in "
            f"{storage.join(self.plan.dest, REJECTED)}: repair or remove them, or raise max_rejected_fraction"
        )

    def _store_rejected(self) -> int:
        """Write rejected.jsonl, with the unusable images and the files that were not read, and return their number."""
        listed = sorted([*self.plan.source.skipped, *self._rejected])
        self._store_lines(REJECTED, ({"name": name, "reason": reason} for name, reason in listed))
        return len(listed)

    def _store_lines(self, name: str, values: Iterable[Any]) -> None:
        text = "".join(json.dumps(value) + "\n" for value in values)
        storage.write_bytes_verified(storage.join(self.plan.dest, name), text.encode())

    def _publish(self, paths: Sequence[str]) -> Manifest:
        rejected = self._store_rejected()
        self._refuse_many_rejected(at_least=1)
        dest = self.plan.dest
        done = [self.state.done[path] for path in paths]
        shards = [each.shard for each in done if each.shard]
        if not any(shard.path.startswith(SPLITS[0]) for shard in shards):
            raise ValueError(f"no image of {self.plan.source.name} is usable; {REJECTED} in {dest} lists the reasons")
        duplicates = list_duplicates(dest, shards, self.plan.parameters.channels)
        self._store_lines(DUPLICATES, (duplicate._asdict() for duplicate in duplicates))
        kinds = Counter(duplicate.kind for duplicate in duplicates)
        notes = sum((Counter(each.notes) for each in done), Counter[str]())
        manifest = self._manifest(shards, rejected, {kind: kinds[kind] for kind in get_args(Kind)}, dict(notes))
        storage.write_json_verified(storage.join(dest, MANIFEST), manifest.to_json())
        storage.delete_file(storage.join(dest, STATE))
        return manifest

    def _manifest(
        self, shards: Sequence[Shard], rejected: int, duplicates: dict[Kind, int], notes: dict[str, int]
    ) -> Manifest:
        source, parameters = self.plan.source, self.plan.parameters
        count = source.label_count
        return Manifest(
            columns=columns(parameters.resolution, parameters.encoding),
            labels=Labels(count, source.label_names) if count else None,
            attributes=attribute_types(source.attributes.schema),
            source=source.name,
            rejected=rejected,
            duplicates=duplicates,
            notes=notes,
            splits=_splits(shards),
            **asdict(parameters),
        )


def _splits(shards: Sequence[Shard]) -> dict[str, SplitShards]:
    parts = {name: tuple(shard for shard in shards if shard.path.startswith(f"{name}/")) for name in SPLITS}
    return {name: SplitShards(sum(shard.rows for shard in part), part) for name, part in parts.items() if part}
