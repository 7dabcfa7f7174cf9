"""Our feed as runs use it, and its parts alone: Ray Data reads slabs, a worker that reserves a CPU makes batches of them."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
from ray.data import DataIterator
from ray.train import DataConfig

from alae_core.schedule import ProgressiveSchedule
from benchmarks.feed.measure import Batch, answer, measure
from pipelines import presets
from pipelines.data.feed.feed import Feed
from pipelines.data.feed.stream import SPLIT, execution_options, plan, slab_reader, slabs, training_dataset
from pipelines.experiment import Experiment

BATCH = 32
CHANNELS = 3
CPUS = 2
ENDLESS = 256e6  # images times side: more than is ever read in a case
PRESET = "celebahq256_style_alae"  # for what has nothing to do with data


def experiment(path: str, sides: tuple[int, ...], images: tuple[float, ...]) -> Experiment:
    """Experiment with one worker and the settings of a run, which reads `images` of each of `sides` in batches of BATCH."""
    preset = presets.load(PRESET)
    schedule = ProgressiveSchedule(
        resolutions=sides, stable_kimg=tuple(count / 1000 for count in images), batch_size=(BATCH,)
    )
    return replace(
        preset,
        schedule=schedule,
        data=replace(preset.data, path=path),
        scaling=replace(preset.scaling, workers=1, gpus_per_worker=0.0),
    )


def feed(parts: Any, wanted: Experiment) -> Feed:
    """The worker's feed from an iterator of slabs."""
    planned = plan(wanted, 0)
    return Feed(parts, planned, nimg=0, rank=0, ranks=1, channels=CHANNELS, device=torch.device("cpu"))


def batches(parts: Any, wanted: Experiment) -> Iterator[Batch]:
    """Batches of the feed, without end."""
    ready = feed(parts, wanted)
    while True:
        yield ready.next()[0].numpy()


def burst(wanted: Experiment) -> int:
    """Number of images that one task reads."""
    first = next(plan(wanted, 0))
    return first.stop - first.start


def shard(wanted: Experiment) -> DataIterator:
    """Data iterator of the only worker, made as Ray Train makes it."""
    config = DataConfig(execution_options=execution_options(wanted))
    node = ray.get_runtime_context().get_node_id()
    return config.configure({SPLIT: training_dataset(wanted, 0)}, 1, None, [node])[0][SPLIT]


def start_ray() -> None:
    """Start Ray with CPUS CPUs on this machine."""
    ray.init(address="local", include_dashboard=False, num_cpus=CPUS, log_to_driver=False, logging_level="ERROR")


@ray.remote
class Worker:
    """Actor in place of a run's worker."""

    def time(self, own: DataIterator, wanted: Experiment, seconds: float, warm_s: float, root: int) -> dict[str, float]:
        """Speed of the worker's feed."""
        return measure(
            lambda: batches(slabs(own, wanted.schedule.total_nimg), wanted), seconds, warm_s, root, burst(wanted)
        )


def by_ray(wanted: Experiment, readers: int, seconds: float, warm_s: float) -> dict[str, float]:
    """Measure the whole path; `readers` tasks read at a time, and the worker has the other CPUs of CPUS."""
    start_ray()
    try:
        worker = Worker.options(num_cpus=CPUS - readers).remote()  # type: ignore[attr-defined]
        return ray.get(worker.time.remote(shard(wanted), wanted, seconds, warm_s, os.getpid()))
    finally:
        ray.shutdown()


def read(wanted: Experiment) -> Iterator[Any]:
    """Slabs that this process reads, span after span."""
    reader = slab_reader(wanted)
    return itertools.chain.from_iterable(reader.read(span) for span in plan(wanted, 0))


def without_ray(wanted: Experiment, seconds: float, warm_s: float) -> dict[str, float]:
    """Measure reader and feed in one process, in which the feed's thread reads."""
    return measure(lambda: batches(read(wanted), wanted), seconds, warm_s, unit=burst(wanted))


def reader_alone(wanted: Experiment, seconds: float, warm_s: float) -> dict[str, float]:
    """Measure the reader's slabs, uint8 [N, R, R, 3] each, without batches."""
    side = wanted.schedule.resolutions[0]

    def whole() -> Iterator[Batch]:
        for slab in read(wanted):
            yield np.frombuffer(slab["pixels"].chunk(0).buffers()[2], np.uint8).reshape(-1, side, side, CHANNELS)

    return measure(whole, seconds, warm_s)


def epoch(wanted: Experiment) -> dict[str, float]:
    """Read all images of the schedule once and return their number."""
    return {"images": sum(slab["stop"][0].as_py() - slab["start"][0].as_py() for slab in read(wanted))}


def run(what: str, path: str, side: int, images: int | None = None, **options: Any) -> dict[str, Any]:
    """Run a case by its name, on a schedule of `images`."""
    wanted = experiment(path, (side,), (images or ENDLESS // side,))
    cases = {"ray": by_ray, "without_ray": without_ray, "reader": reader_alone, "epoch": epoch}
    return cases[what](wanted, **options)


if __name__ == "__main__":
    answer(run)
