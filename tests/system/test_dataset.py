"""The real Ray Data path: each rank receives exactly its slabs, in order, even if another rank is slow."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.train import DataConfig

from alae_core import order
from alae_core.order import Span
from pipelines import presets, storage
from pipelines.data.feed import stream
from pipelines.data.feed.slabs import SlabReader
from pipelines.data.feed.stream import SPLIT, execution_options, plan, slab_reader, training_dataset
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from tests.support.runs import local_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPANS = stream.spans
RANKS = 2
SLOW_S = 0.03


@ray.remote
class Workers:
    """Holds the CPUs that the workers of a run reserve."""

    def ready(self) -> None:
        """Return once the CPUs are reserved."""


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """Ray with two CPUs, of which the workers leave 0.6, enough for one data task of these settings."""
    with local_ray():
        workers = Workers.options(num_cpus=1.4).remote()  # type: ignore[attr-defined]
        ray.get(workers.ready.remote())
        yield
        del workers


def one_window_each(*planned: Any) -> Iterator[Span]:
    """Return each window as a span; may be called in any process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "SPAN_IMAGES", 1)
        found = list(SPANS(*planned))
    yield from found


@pytest.fixture
def experiment(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """12 windows of two levels, each a span of its own."""
    monkeypatch.setattr(stream, "spans", one_window_each)
    small = [f"data.path={tiny_dataset}", f"scaling.workers={RANKS}", "data.window_images=40"]
    return override(presets.load("debug_mnist32_style_alae"), [*small, "scaling.cpus_per_data_task=0.5"])


def handed_out(experiment: Experiment, nimg: int) -> list[Iterator[pa.Table]]:
    """Slabs of each rank with the trainer's configuration."""
    config = DataConfig(execution_options=execution_options(experiment))
    node = ray.get_runtime_context().get_node_id()
    shards = config.configure({SPLIT: training_dataset(experiment, nimg)}, RANKS, None, [node] * RANKS)
    return [stream.slabs(shard[SPLIT], experiment.schedule.total_nimg) for shard in shards]


def consumed(ranks: list[Iterator[pa.Table]]) -> list[list[pa.Table]]:
    """Slabs of all ranks, of which the last is slow."""
    with ThreadPoolExecutor(RANKS) as consumers:
        return list(consumers.map(list, [*ranks[:-1], _slowly(ranks[-1])]))


def _slowly(slabs: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for slab in slabs:
        time.sleep(SLOW_S)
        yield slab


def with_reader(monkeypatch: pytest.MonkeyPatch, change: Callable[[SlabReader, Span], None]) -> None:
    """Call `change` in the task before each span is read."""

    class Changed(SlabReader):
        def read(self, span: Span) -> Iterator[pa.Table]:
            change(self, span)
            yield from super().read(span)

    def changed(experiment: Experiment) -> SlabReader:
        reader = slab_reader(experiment)
        return Changed(**{name: getattr(reader, name) for name in reader.__dataclass_fields__})

    monkeypatch.setattr(stream, "slab_reader", changed)


@pytest.mark.parametrize("at_once", [2000, 5], ids=["one execution", "three executions"])
def test_each_rank_is_handed_exactly_its_slabs_in_order_while_another_is_slow(
    _cluster: None, experiment: Experiment, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SPANS_AT_ONCE", at_once)
    found = consumed(handed_out(experiment, 56))
    reader = slab_reader(experiment)
    expected = [slab for span in plan(experiment, 56) for slab in reader.read(span)]
    for rank in range(RANKS):
        assert [slab["start"][0].as_py() for slab in found[rank]] == [span.start for span in plan(experiment, 56)]
        assert found[rank] == expected[rank::RANKS]


def test_a_run_with_nothing_left_to_read_has_a_dataset_of_no_slabs(_cluster: None, experiment: Experiment) -> None:
    assert consumed(handed_out(experiment, experiment.schedule.total_nimg)) == [[], []]


def test_the_next_level_is_read_while_this_one_still_has_batches(
    _cluster: None, experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_reader(monkeypatch, lambda _, span: (tmp_path / str(span.start)).touch())
    first_of_next = next(span for span in plan(experiment, 0) if span.level == 1)
    ranks = handed_out(experiment, 0)  # one dataset, so one execution, for both levels
    with ThreadPoolExecutor(RANKS) as consumers:
        taken = list(consumers.map(next, ranks))
    assert [slab["start"][0].as_py() for slab in taken] == [0] * RANKS
    deadline = time.monotonic() + 60
    while not (tmp_path / str(first_of_next.start)).exists():
        assert time.monotonic() < deadline, "the next level is not read ahead"
        time.sleep(0.05)
    assert [len(slabs) for slabs in consumed(ranks)] == [len(list(plan(experiment, 0))) - 1] * RANKS


def test_the_next_execution_begins_while_slabs_of_the_last_are_left(
    _cluster: None, experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stream, "SPANS_AT_ONCE", 6)
    with_reader(monkeypatch, lambda _, span: (tmp_path / str(span.start)).touch())
    planned = [span.start for span in plan(experiment, 0)]
    ranks = handed_out(experiment, 0)
    with ThreadPoolExecutor(RANKS) as consumers:
        taken = list(consumers.map(lambda slabs: list(islice(slabs, 4)), ranks))
    assert [[slab["start"][0].as_py() for slab in slabs] for slabs in taken] == [planned[:4]] * RANKS
    deadline = time.monotonic() + 60
    while not (tmp_path / str(planned[6])).exists():
        assert time.monotonic() < deadline, "the second execution waits for the end of the first"
        time.sleep(0.05)
    assert [len(slabs) for slabs in consumed(ranks)] == [len(planned) - 4] * RANKS


def test_a_dataset_that_begins_again_is_refused() -> None:
    slab = pa.table({"start": [0], "stop": [40]})

    class Again:
        def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
            yield slab

    with pytest.raises(RuntimeError, match="Ray Data restarted at image 0 of the run, after 40"):
        list(stream.slabs(Again(), 80))  # type: ignore[arg-type]


def test_a_store_that_refuses_in_a_task_is_told_to_the_worker_in_its_sentence(
    _cluster: None, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(reader: SlabReader, span: Span) -> None:
        raise storage.StorageDeniedError(f"{reader.splits[0].url} may not be read; ask who keeps it")

    with_reader(monkeypatch, refuse)
    sentence = (
        f"a task that reads images failed: StorageDeniedError: {experiment.data.path} may not be read; ask who keeps it"
    )
    with pytest.raises(RuntimeError, match=f"^{re.escape(sentence)}$"):
        consumed(handed_out(experiment, 0))
