"""The data path without Ray: slabs become the batches of the plain loop, and a slab out of place is refused."""

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from alae_core.fit import fit
from pipelines import presets
from pipelines.data.feed import Feed
from pipelines.data.shards import Dataset, Split
from pipelines.data.stream import SPLIT, SlabReader, plan
from pipelines.experiment import Experiment

RANKS = 2


@pytest.fixture(scope="module")
def experiment(tiny_dataset: Path) -> Experiment:
    """Two ranks, 480 images of two levels: more than two epochs."""
    preset = presets.load("debug_mnist32_style_alae")
    return replace(
        preset,
        data=replace(preset.data, path=str(tiny_dataset)),
        scaling=replace(preset.scaling, workers=RANKS),
    )


@pytest.fixture(scope="module")
def slabs(experiment: Experiment) -> list[pa.Table]:
    """All slabs of the run, in order: of each window, one for each rank."""
    return slabs_from(experiment, 0)


def slabs_from(experiment: Experiment, nimg: int) -> list[pa.Table]:
    windows = tuple(plan(experiment, nimg))
    reader = SlabReader(experiment.to_json(), windows, RANKS)
    return [slab for index in range(len(windows)) for slab in reader({"id": np.array([index])})]


def feed_of(experiment: Experiment, blocks: Iterable[pa.Table], rank: int = 0, nimg: int = 0) -> Feed:
    return Feed(
        blocks,
        experiment.schedule,
        plan(experiment, nimg),
        nimg=nimg,
        rank=rank,
        ranks=RANKS,
        channels=1,
        device=torch.device("cpu"),
    )


class Listener:
    """Stands in for the engine in the plain loop, and keeps the batches."""

    def __init__(self, experiment: Experiment) -> None:
        self.schedule, self.seed = experiment.schedule, experiment.seed
        self.heard: list[NDArray[np.uint8]] = []

    def train_iteration(self, state: Any, pixels: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        self.heard.append(pixels[0].numpy())
        state.nimg += len(pixels[0])
        return {}


def batches_of_the_plain_loop(experiment: Experiment, rank: int, nimg: int = 0) -> list[NDArray[np.uint8]]:
    """This rank's share of each global batch that `alae_core.fit` trains on from image `nimg` on."""
    split = Dataset.open(experiment.data.path).split(SPLIT)
    listener = Listener(experiment)
    network = {"any": torch.nn.Linear(1, 1)}
    fit(
        SimpleNamespace(nimg=nimg, algorithm=SimpleNamespace(networks=network)),  # type: ignore[arg-type]
        listener,  # type: ignore[arg-type]
        split.read(experiment.schedule.resolutions[-1], np.arange(split.rows)),
        group_sizes=split.group_sizes,
        window_images=experiment.data.window_images,
    )
    return [np.split(batch, RANKS)[rank] for batch in listener.heard]


def require_equal(feed: Feed, expected: Iterable[NDArray[np.uint8]]) -> int:
    count = 0
    for batch in expected:
        np.testing.assert_array_equal(feed.next().numpy(), batch)
        count += 1
    return count


@pytest.mark.parametrize("rank", range(RANKS))
def test_slabs_in_order_give_the_batches_of_the_plain_loop(
    experiment: Experiment, slabs: list[pa.Table], rank: int
) -> None:
    feed = feed_of(experiment, slabs[rank::RANKS], rank)
    count = require_equal(feed, batches_of_the_plain_loop(experiment, rank))
    assert count * experiment.schedule.batch_size[0] == experiment.schedule.total_nimg


@pytest.mark.parametrize("nimg", [8, 56, 64, 72, 160, 296, 472])
def test_a_resume_anywhere_in_a_window_goes_on_exactly(experiment: Experiment, nimg: int) -> None:
    feed = feed_of(experiment, slabs_from(experiment, nimg)[1::RANKS], 1, nimg)
    assert require_equal(feed, batches_of_the_plain_loop(experiment, 1, nimg)) == (480 - nimg) // 8


def test_windows_that_the_checkpoint_is_already_past_are_passed_over(
    experiment: Experiment, slabs: list[pa.Table]
) -> None:
    feed = feed_of(experiment, slabs[0::RANKS], nimg=296)
    assert require_equal(feed, batches_of_the_plain_loop(experiment, 0, 296)) == (480 - 296) // 8


def test_a_slab_out_of_order_is_refused(experiment: Experiment, slabs: list[pa.Table]) -> None:
    own = slabs[0::RANKS]
    own[1], own[2] = own[2], own[1]
    feed = feed_of(experiment, own)
    for _ in range(64 // 8):
        feed.next()
    with pytest.raises(RuntimeError, match=r"slab \(128, 160, 0\) instead of \(64, 128, 0\): Ray Data changed"):
        feed.next()


def test_a_slab_of_another_rank_is_refused(experiment: Experiment, slabs: list[pa.Table]) -> None:
    with pytest.raises(RuntimeError, match=r"rank 1 was handed the slab \(0, 64, 0\) instead of \(0, 64, 1\)"):
        feed_of(experiment, slabs[0::RANKS], rank=1).next()


def test_a_slab_that_comes_twice_is_trained_on_once(experiment: Experiment, slabs: list[pa.Table]) -> None:
    own = slabs[0::RANKS]
    feed = feed_of(experiment, [own[0], own[0], *own[1:]])
    assert require_equal(feed, batches_of_the_plain_loop(experiment, 0)) == 60


def test_a_missing_slab_is_refused(experiment: Experiment, slabs: list[pa.Table]) -> None:
    own = slabs[0::RANKS]
    feed = feed_of(experiment, [own[0], *own[2:]])
    for _ in range(64 // 8):
        feed.next()
    with pytest.raises(RuntimeError, match=r"instead of \(64, 128, 0\)"):
        feed.next()


def test_data_that_ends_early_is_an_error_that_says_where(experiment: Experiment, slabs: list[pa.Table]) -> None:
    feed = feed_of(experiment, slabs[0:2:RANKS])
    for _ in range(64 // 8):
        feed.next()
    with pytest.raises(RuntimeError, match="the data ended before image 64 of the run on rank 0"):
        feed.next()


def test_the_wait_for_data_is_measured(
    experiment: Experiment, slabs: list[pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("pipelines.data.feed.time.perf_counter", lambda: now[0])

    def slowly() -> Iterator[pa.Table]:
        for slab in slabs[0::RANKS]:
            now[0] += 3.0
            yield slab

    feed = feed_of(experiment, slowly())
    for _ in range(64 // 8):
        feed.next()
        now[0] += 1.0  # the training between two batches is no wait
    assert feed.waited_s == 3.0
    feed.next()
    assert feed.waited_s == 6.0


def test_a_batch_can_be_written_to_without_touching_the_slab(experiment: Experiment, slabs: list[pa.Table]) -> None:
    first = feed_of(experiment, slabs[0::RANKS]).next()
    expected = first.clone()
    first.fill_(7)
    assert torch.equal(feed_of(experiment, slabs[0::RANKS]).next(), expected)


def test_a_slab_is_found_in_a_block_that_was_sliced_from_a_larger_one(
    experiment: Experiment, slabs: list[pa.Table]
) -> None:
    together = pa.concat_tables(slabs).combine_chunks()
    sliced = [together.slice(index, 1) for index in range(0, len(slabs), RANKS)]
    assert require_equal(feed_of(experiment, sliced), batches_of_the_plain_loop(experiment, 0)) == 60


def test_a_slab_reader_survives_pickling_with_its_files_open(experiment: Experiment, slabs: list[pa.Table]) -> None:
    reader = SlabReader(experiment.to_json(), tuple(plan(experiment, 0)), RANKS)
    list(reader({"id": np.array([0])}))
    copy = pickle.loads(pickle.dumps(reader))
    assert copy == reader and "_split" not in copy.__dict__
    assert list(copy({"id": np.array([0])})) == slabs[:RANKS]


def test_a_slab_reader_reads_only_its_levels_column(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    columns: list[str] = []
    read = Split._column

    def listening(self: Split, column: str, *where: object) -> pa.Array:
        columns.append(column)
        return read(self, column, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(Split, "_column", listening)
    windows = tuple(plan(experiment, 0))
    reader = SlabReader(experiment.to_json(), windows, RANKS)
    for level, column in enumerate(("r4", "r8")):
        index = next(i for i, window in enumerate(windows) if window.level == level)
        list(reader({"id": np.array([index])}))
        assert set(columns) == {column}
        columns.clear()
