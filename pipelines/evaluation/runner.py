"""Computes metrics by name: draws each stream once, in shards that may run in any process, and merges the parts."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch

from pipelines.evaluation.draws import Datasets, Stream, positions
from pipelines.evaluation.features.extractor import batches, most_at_once
from pipelines.evaluation.measures import Part
from pipelines.evaluation.plan import Planner, Task
from pipelines.evaluation.subject import Subject
from pipelines.experiment import EvaluationConfig
from pipelines.runs.evaluations import Measured

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Every `of`-th batch of each stream, starting with batch `index`."""

    index: int = 0
    of: int = 1


WHOLE = Shard()


def measure(
    names: Sequence[str], subject: Subject, datasets: Datasets, config: EvaluationConfig, shards: int = 1
) -> list[Measured]:
    """Compute metrics in this process, shard by shard; `datasets` has one dataset per domain.

    Raises ValueError as `requirements.check` does.
    """
    tasks = Planner(subject, datasets, config).plan(names)
    return finish(tasks, [gather(tasks, subject, datasets, Shard(index, shards)) for index in range(shards)])


@torch.no_grad()
def gather(tasks: Sequence[Task], subject: Subject, datasets: Datasets, shard: Shard = WHOLE) -> list[Part]:
    """Return the part of each task for the batches of one shard; parts can be pickled and passed to `finish`."""
    parts = [task.measure.start() for task in tasks]
    most = most_at_once(subject.level.resolution)
    for stream, places in _by_stream(tasks):
        count = max(tasks[place].count for place in places)
        for number, size in enumerate(batches(count, subject.level.resolution)):
            if number % shard.of != shard.index:
                continue
            start = number * most
            drawn = stream.draw(subject, datasets, number, start, size)
            for place in places:
                if (wanted := min(size, tasks[place].count - start)) > 0:
                    tasks[place].measure.add(parts[place], positions(start, wanted), drawn)
    return parts


@torch.no_grad()
def finish(tasks: Sequence[Task], shards: Sequence[Sequence[Part]]) -> list[Measured]:
    """Return the estimates from the parts of all shards in any order."""
    found = []
    for place, task in enumerate(tasks):
        if task.left_out:
            log.warning("%s is left out of this evaluation: %s", task.protocol.name, task.left_out)
            found.append(Measured(task.protocol, {}, task.left_out))
            continue
        estimates = task.measure.finish(task.measure.merge([parts[place] for parts in shards]))
        noted = [replace(estimate, notes=(*estimate.notes, *task.notes)) for estimate in estimates]
        by_key = dict(zip(task.protocol.keys, noted, strict=True))
        found.append(Measured(task.protocol, by_key, weights=task.weights))
    return found


def _by_stream(tasks: Sequence[Task]) -> Iterator[tuple[Stream, list[int]]]:
    streams = list(dict.fromkeys(task.stream for task in tasks))
    order = sorted(range(len(tasks)), key=lambda place: streams.index(tasks[place].stream))
    for index, places in groupby(order, key=lambda place: streams.index(tasks[place].stream)):
        yield streams[index], list(places)
