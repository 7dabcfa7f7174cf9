"""The data path without Ray: slabs become the batches of the plain loop, and a slab out of order is refused."""

import threading
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

from alae_core import order
from alae_core.fit import fit
from pipelines import presets
from pipelines.data.feed import feed as feeding
from pipelines.data.feed.feed import Feed
from pipelines.data.feed.stream import SPLIT, plan, slab_reader
from pipelines.data.format.shards import Dataset
from pipelines.experiment import Experiment

RANKS = 2


@pytest.fixture(scope="module", autouse=True)
def _small_spans() -> Iterator[None]:
    """A span is one window of 64 images, or the rest of the level."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "SPAN_IMAGES", 64)
        yield


@pytest.fixture(scope="module")
def experiment(tiny_dataset: Path) -> Experiment:
    """An experiment with two ranks and 480 images in two levels: more than two epochs."""
    preset = presets.load("debug_mnist32_style_alae")
    return replace(
        preset,
        data=replace(preset.data, path=str(tiny_dataset)),
        scaling=replace(preset.scaling, workers=RANKS),
    )


@pytest.fixture(scope="module")
def slabs(experiment: Experiment) -> list[pa.Table]:
    """All slabs of the run in order, one per span and rank."""
    return slabs_from(experiment, 0)


def slabs_from(experiment: Experiment, nimg: int) -> list[pa.Table]:
    reader = slab_reader(experiment)
    return [slab for span in plan(experiment, nimg) for slab in reader.read(span)]


def feed_of(experiment: Experiment, slabs: Iterable[pa.Table], rank: int = 0, nimg: int = 0) -> Feed:
    return Feed(
        slabs,
        plan(experiment, nimg),
        nimg=nimg,
        rank=rank,
        ranks=RANKS,
        channels=1,
        device=torch.device("cpu"),
    )


class Listener:
    """A stand-in for the engine in the plain loop that keeps the batches."""

    def __init__(self, experiment: Experiment) -> None:
        self.schedule, self.seed = experiment.schedule, experiment.seed
        self.heard: list[NDArray[np.uint8]] = []

    def train_iteration(self, state: Any, pixels: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        self.heard.append(pixels[0].numpy())
        state.nimg += len(pixels[0])
        return {}


def batches_of_the_plain_loop(experiment: Experiment, rank: int, nimg: int = 0) -> list[NDArray[np.uint8]]:
    """This rank's share of each global batch on which `alae_core.fit` trains from image `nimg` on."""
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
        np.testing.assert_array_equal(feed.next()[0].numpy(), batch)
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


@pytest.mark.parametrize("images", [64, 128, 10_000])
@pytest.mark.parametrize("nimg", [8, 72, 296])
def test_slabs_that_were_planned_before_the_last_checkpoint_are_passed_over(
    experiment: Experiment, nimg: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "SPAN_IMAGES", images)
    feed = feed_of(experiment, slabs_from(experiment, 0)[0::RANKS], nimg=nimg)
    assert require_equal(feed, batches_of_the_plain_loop(experiment, 0, nimg)) == (480 - nimg) // 8


@pytest.mark.parametrize("ahead", [1, 3 * 4 * 4 * 4])
def test_batches_are_the_same_however_many_are_copied_at_a_time(
    experiment: Experiment, slabs: list[pa.Table], ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "AHEAD_BYTES", ahead)
    assert require_equal(feed_of(experiment, slabs[0::RANKS]), batches_of_the_plain_loop(experiment, 0)) == 60


def test_a_slab_planned_later_than_the_checkpoint_is_refused(experiment: Experiment) -> None:
    with pytest.raises(RuntimeError, match=r"slab \(64, 128, 0\) instead of \(0, 64, 0\)"):
        feed_of(experiment, slabs_from(experiment, 64)[0::RANKS]).next()


def test_a_slab_out_of_order_is_refused(experiment: Experiment, slabs: list[pa.Table]) -> None:
    own = slabs[0::RANKS]
    own[1], own[2] = own[2], own[1]
    feed = feed_of(experiment, own)
    for _ in range(64 // 8):
        feed.next()
    with pytest.raises(RuntimeError, match=r"slab \(128, 160, 0\) instead of \(64, 128, 0\): Ray Data changed"):
        feed.next()


def test_a_slab_of_another_rank_is_refused(experiment: Experiment, slabs: list[pa.Table]) -> None:
    with pytest.raises(RuntimeError, match=r"rank 1 received the slab \(0, 64, 0\) instead of \(0, 64, 1\)"):
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
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the data ended before image 64 of the run on rank 0"):
            feed.next()


class OnDemand:
    """A stand-in for the feed's queue that fetches only when an item is requested."""

    fetched: Iterator[Any] = iter(())

    def __init__(self, *_: Any) -> None:
        pass

    def get(self) -> Any:
        return next(self.fetched)


class Idle:
    """A stand-in for the feed's thread that leaves the work to the queue."""

    def __init__(self, *, args: tuple[Iterator[Any], OnDemand], **_: Any) -> None:
        fetched, coming = args
        coming.fetched = fetched

    def start(self) -> None:
        """Run nothing."""


def test_the_wait_for_data_is_measured_apart_from_the_start(
    experiment: Experiment, slabs: list[pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(feeding.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(feeding, "Queue", OnDemand)
    monkeypatch.setattr(feeding, "Thread", Idle)

    def slowly() -> Iterator[pa.Table]:
        for slab in slabs[0::RANKS]:
            now[0] += 3.0
            yield slab

    feed = feed_of(experiment, slowly())
    assert feed.start() == 3.0
    for _ in range(64 // 8):
        feed.next()
        now[0] += 1.0  # training between two batches does not count as waiting
    assert feed.waited_s == 0.0
    feed.next()
    assert feed.waited_s == 3.0


def test_the_next_slab_is_fetched_while_the_last_one_is_trained_on(
    experiment: Experiment, slabs: list[pa.Table]
) -> None:
    fetched = threading.Semaphore(0)

    def announced() -> Iterator[pa.Table]:
        for slab in slabs[0::RANKS]:
            fetched.release()
            yield slab

    feed = feed_of(experiment, announced())
    assert fetched.acquire(timeout=60)
    feed.next()
    assert fetched.acquire(timeout=60)  # and seven batches of the first are still to come


def test_a_batch_can_be_written_to_without_touching_the_slab(experiment: Experiment, slabs: list[pa.Table]) -> None:
    first = feed_of(experiment, slabs[0::RANKS]).next()[0]
    expected = first.clone()
    first.fill_(7)
    assert torch.equal(feed_of(experiment, slabs[0::RANKS]).next()[0], expected)


def test_a_slab_is_found_in_a_block_that_was_sliced_from_a_larger_one(
    experiment: Experiment, slabs: list[pa.Table]
) -> None:
    together = pa.concat_tables(slabs).combine_chunks()
    sliced = [together.slice(index, 1) for index in range(0, len(slabs), RANKS)]
    assert require_equal(feed_of(experiment, sliced), batches_of_the_plain_loop(experiment, 0)) == 60
