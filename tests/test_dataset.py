"""The real Ray Data path: each rank is handed exactly its slabs, in order, however slow another rank is."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.train import DataConfig

from pipelines import presets
from pipelines.data.stream import SPLIT, SlabReader, execution_options, plan, training_dataset
from pipelines.experiment import Experiment
from pipelines.override import override

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RANKS = 2
SLOW_S = 0.03


@ray.remote
class Workers:
    """Holds the CPUs that the workers of a run reserve."""

    def ready(self) -> None:
        """Once this returns, the CPUs are held."""


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """Two CPUs, of which the workers leave 0.6: enough for the one data task that the settings allow for."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    workers = Workers.options(num_cpus=1.4).remote()  # type: ignore[attr-defined]
    ray.get(workers.ready.remote())
    yield
    del workers
    ray.shutdown()


@pytest.fixture(scope="module")
def experiment(tiny_dataset: Path) -> Experiment:
    """12 windows of two levels."""
    small = [f"data.path={tiny_dataset}", f"scaling.workers={RANKS}", "data.window_images=40"]
    return override(presets.load("debug_mnist32_style_alae"), [*small, "scaling.cpus_per_data_task=0.5"])


def handed_out(experiment: Experiment, nimg: int) -> list[list[pa.Table]]:
    """What each rank gets through the configuration that the trainer uses; the last rank is slow."""
    config = DataConfig(execution_options=execution_options(experiment))
    node = ray.get_runtime_context().get_node_id()
    shards = config.configure({SPLIT: training_dataset(experiment, nimg)}, RANKS, None, [node] * RANKS)

    def consume(rank: int) -> list[pa.Table]:
        blocks = shards[rank][SPLIT].iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=4)
        return list(_slowly(blocks) if rank == RANKS - 1 else blocks)

    with ThreadPoolExecutor(RANKS) as consumers:
        return list(consumers.map(consume, range(RANKS)))


def _slowly(blocks: Any) -> Iterator[pa.Table]:
    for block in blocks:
        time.sleep(SLOW_S)
        yield block


def expected(experiment: Experiment, nimg: int) -> list[list[pa.Table]]:
    windows = tuple(plan(experiment, nimg))
    reader = SlabReader(experiment.to_json(), windows, RANKS)
    slabs = list(reader({"id": np.arange(len(windows))}))
    return [slabs[rank::RANKS] for rank in range(RANKS)]


def test_each_rank_is_handed_exactly_its_slabs_in_order_while_another_is_slow(
    _cluster: None, experiment: Experiment
) -> None:
    for found, wanted in zip(handed_out(experiment, 56), expected(experiment, 56), strict=True):
        assert [slab["start"][0].as_py() for slab in found] == [slab["start"][0].as_py() for slab in wanted]
        assert found == wanted


def test_a_run_with_nothing_left_to_read_has_a_dataset_of_no_slabs(_cluster: None, experiment: Experiment) -> None:
    assert handed_out(experiment, experiment.schedule.total_nimg) == [[], []]
