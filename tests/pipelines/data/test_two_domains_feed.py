"""Two image streams without Ray: they are unpaired, have their own epochs, and continue after a resume."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alae_core import order
from alae_core.fit import fit
from pipelines import presets
from pipelines.data import domains
from pipelines.data.feed.feed import Feed, UnreadableError
from pipelines.data.feed.stream import plan, slab_reader
from pipelines.data.format.shards import Damaged
from pipelines.experiment import Experiment
from tests.support.packed import flip_a_byte, pack_two_domains

BATCH = 8
TOTAL = 480
COUNTS = (200, 136)
Batches = list[tuple[NDArray[np.uint8], ...]]
"""The images of each domain in each batch."""


@pytest.fixture(autouse=True)
def _small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span is one or two windows."""
    monkeypatch.setattr(order, "SPAN_IMAGES", 128)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packed domains with fewer images than the run reads."""
    return Path(pack_two_domains(tmp_path_factory.mktemp("domains"), COUNTS))


@pytest.fixture
def experiment(pair: Path) -> Experiment:
    """An experiment over 480 images per domain in windows of 64: more than two epochs of a and three of b."""
    preset = presets.load("debug_emoji_noto2twemoji64_munit")
    return replace(
        preset,
        schedule=replace(preset.schedule, stable_kimg=(TOTAL / 1000,), batch_size=(BATCH,)),
        data=replace(preset.data, path=str(pair), window_images=64),
    )


@pytest.fixture
def copied(experiment: Experiment, tmp_path: Path) -> Experiment:
    """The experiment on a copy of the datasets that tests may change."""
    shutil.copytree(experiment.data.path, tmp_path / "pair")
    return replace(experiment, data=replace(experiment.data, path=str(tmp_path / "pair")))


def feed_of(experiment: Experiment, rank: int, ranks: int, nimg: int, damaged: Damaged) -> Feed:
    reader = replace(slab_reader(experiment), ranks=ranks, damaged=damaged)
    planned = list(plan(experiment, nimg))
    slabs = (list(reader.read(span))[rank] for span in planned)
    device = torch.device("cpu")
    return Feed(slabs, planned, nimg=nimg, rank=rank, ranks=ranks, channels=3, device=device, domains=2)


def fed(experiment: Experiment, ranks: int = 1, nimg: int = 0, damaged: Damaged = "stop") -> tuple[Batches, list[Feed]]:
    """The global batches from image `nimg` on, assembled from `ranks` ranks, and the ranks' feeds."""
    feeds = [feed_of(experiment, rank, ranks, nimg, damaged) for rank in range(ranks)]
    batches = []
    for _ in range(nimg, TOTAL, BATCH):
        shares = zip(*(feed.next() for feed in feeds), strict=True)
        batches.append(tuple(torch.cat(domain).numpy() for domain in shares))
    return batches, feeds


def stream(batches: Batches, domain: int) -> list[bytes]:
    """The bytes of a domain's images in the order of the batches."""
    return [image.tobytes() for batch in batches for image in batch[domain]]


def stored(experiment: Experiment, domain: int) -> list[bytes]:
    """The bytes of the images in a domain's dataset, by row."""
    split = slab_reader(experiment).splits[domain]
    return [image.tobytes() for image in split.read(experiment.algorithm.resolution, np.arange(split.rows))]


def rows_of(experiment: Experiment, batches: Batches, domain: int) -> list[int]:
    """The rows of a domain's stream; raises if it contains an image of the other domain."""
    known = {image: row for row, image in enumerate(stored(experiment, domain))}
    return [known[image] for image in stream(batches, domain)]


def same(one: Batches, other: Batches) -> bool:
    return [stream(one, domain) for domain in (0, 1)] == [stream(other, domain) for domain in (0, 1)]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_each_image_of_each_domain_comes_once_in_each_epoch_of_its_own_for_any_number_of_ranks(
    experiment: Experiment, ranks: int
) -> None:
    batches, _ = fed(experiment, ranks)
    for domain, count in enumerate(COUNTS):
        rows = rows_of(experiment, batches, domain)
        epochs = [rows[first : first + count] for first in range(0, TOTAL - count + 1, count)]
        assert len(epochs) >= 2
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert same(batches, fed(experiment)[0])


def test_ranks_share_each_batch_of_either_domain(experiment: Experiment) -> None:
    feeds = [feed_of(experiment, rank, 2, 0, "stop") for rank in range(2)]
    for _ in range(TOTAL // BATCH):
        for first, second in zip(*(feed.next() for feed in feeds), strict=True):
            assert len(first) == len(second) == BATCH // 2
            assert not {image.numpy().tobytes() for image in first} & {image.numpy().tobytes() for image in second}


class Listener:
    """A stand-in for the engine in the plain loop that keeps the batches."""

    def __init__(self, experiment: Experiment) -> None:
        self.schedule, self.seed = experiment.schedule, experiment.seed
        self.heard: Batches = []

    def train_iteration(self, state: Any, pixels: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        self.heard.append(tuple(domain.numpy() for domain in pixels))
        state.nimg += len(pixels[0])
        return {}


def test_the_batches_are_those_of_the_plain_loop_on_the_same_images(experiment: Experiment) -> None:
    splits = slab_reader(experiment).splits
    listener = Listener(experiment)
    fit(
        SimpleNamespace(nimg=0, algorithm=SimpleNamespace(networks={"any": torch.nn.Linear(1, 1)})),  # type: ignore[arg-type]
        listener,  # type: ignore[arg-type]
        tuple(split.read(experiment.algorithm.resolution, np.arange(split.rows)) for split in splits),
        group_sizes=tuple(split.group_sizes for split in splits),
        window_images=experiment.data.window_images,
    )
    assert same(fed(experiment, 2)[0], listener.heard)


@pytest.mark.parametrize("nimg", [8, 64, 136, 200, 208, 400, 472])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (4, 1)])
def test_a_resume_goes_on_in_both_domains_where_they_stopped(
    experiment: Experiment, nimg: int, before: int, after: int
) -> None:
    whole, _ = fed(experiment, before)
    assert same(whole[: nimg // BATCH] + fed(experiment, after, nimg)[0], whole)


def test_datasets_of_the_same_images_are_not_paired(copied: Experiment, tmp_path: Path) -> None:
    a, b = (Path(url) for url in domains.urls(copied.data.path, 2))
    b.rename(tmp_path / "other")
    b.symlink_to(a)
    batches, _ = fed(copied)
    first, second = (rows_of(copied, batches, domain) for domain in (0, 1))
    assert sorted(first[: COUNTS[0]]) == sorted(second[: COUNTS[0]])
    for start in range(0, TOTAL, BATCH):
        assert first[start : start + BATCH] != second[start : start + BATCH]


def test_a_span_holds_the_images_of_both_domains_in_the_memory_it_may_take(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 100 * 3 * experiment.algorithm.resolution**2
    monkeypatch.setattr(order, "SPAN_BYTES", most)
    monkeypatch.setattr(order, "WINDOW_BYTES", most)
    reader = replace(slab_reader(experiment), ranks=2)
    spans = list(plan(experiment, 0))
    for span in spans:
        assert 0 < sum(len(slab["pixels"][0].as_buffer()) for slab in reader.read(span)) <= most
    assert max(span.stop - span.start for span in spans) == 100 // 2 // BATCH * BATCH


LOST = range(96, 136)
"""The rows of domain b's third row group, the first of its second shard."""


@pytest.fixture
def whole(copied: Experiment) -> Batches:
    """The batches of both datasets before any damage."""
    return fed(copied)[0]


@pytest.fixture
def lost(copied: Experiment, whole: Batches) -> list[int]:
    """Damage a row group of domain b, and return the positions of its images in the domain's stream."""
    rows = rows_of(copied, whole, 1)
    flip_a_byte(Path(copied.data.path) / "b/train/shard_00001.parquet", 0, f"r{copied.algorithm.resolution}")
    return [position for position, row in enumerate(rows) if row in LOST]


@pytest.mark.usefixtures("lost")
def test_a_run_stops_at_a_damaged_image_of_either_domain_and_names_its_dataset(copied: Experiment) -> None:
    with pytest.raises(UnreadableError, match=r"pair/b/train/shard_00001\.parquet: row group 0, column .*damaged=skip"):
        fed(copied, 2)


@pytest.mark.parametrize("ranks", [1, 2])
def test_whole_images_of_its_own_domain_take_the_place_of_a_damaged_one_and_the_other_domain_stays(
    copied: Experiment, whole: Batches, lost: list[int], ranks: int
) -> None:
    found, feeds = fed(copied, ranks, damaged="skip")
    assert stream(found, 0) == stream(whole, 0)
    before, after = stream(whole, 1), stream(found, 1)
    assert [position for position, image in enumerate(after) if image != before[position]] == lost != []
    assert set(after) <= set(before) - {before[position] for position in lost}
    assert {feed.skipped for feed in feeds} == {len(lost)}
    assert all("pair/b/train" in sentence for feed in feeds for sentence in feed.damage)


def test_damaged_images_of_both_domains_are_counted_together(
    copied: Experiment, whole: Batches, lost: list[int]
) -> None:
    rows = rows_of(copied, whole, 0)
    flip_a_byte(Path(copied.data.path) / "a/train/shard_00002.parquet", 0, f"r{copied.algorithm.resolution}")
    _, (feed,) = fed(copied, damaged="skip")
    assert feed.skipped == len(lost) + sum(row >= 192 for row in rows)
    assert sorted(sentence.split("/train")[0][-1] for sentence in feed.damage) == ["a", "b"]
