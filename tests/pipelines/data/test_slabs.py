"""Read tasks: whole spans of the stream become slabs, read from the right column and without torch."""

import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alae_core import order
from pipelines import presets
from pipelines.data.feed.stream import plan, slab_reader
from pipelines.data.format import shards
from pipelines.data.format.codec import Pixels
from pipelines.data.format.shard_files import ShardFiles
from pipelines.experiment import Experiment

NIMG = 24 * 9
"""An image in the second window of the second level."""


@pytest.fixture
def experiment(tiny_dataset: Path) -> Experiment:
    """An experiment with batches of 24, 1 to 4 ranks, three levels, windows of 48 and epochs of 200 images."""
    preset = presets.load("debug_mnist32_style_alae")
    return replace(
        preset,
        schedule=replace(preset.schedule, batch_size=(24,)),
        data=replace(preset.data, path=str(tiny_dataset), window_images=48),
    )


def images_of(experiment: Experiment, ranks: int, nimg: int = 0) -> list[Pixels]:
    """The images of the stream from `nimg` on, assembled from the slabs of `ranks` ranks."""
    reader = replace(slab_reader(experiment), ranks=ranks)
    found: list[Pixels] = []
    for span in plan(experiment, nimg):
        shape = (-1, span.batch_size // ranks, span.resolution, span.resolution, 1)
        slabs = [slab["pixels"][0].as_buffer() for slab in reader.read(span)]
        parts = [np.frombuffer(slab, np.uint8).reshape(shape) for slab in slabs]
        batches = np.concatenate(parts, axis=1)
        found.extend(image for batch in batches for image in batch)
    return found[max(0, nimg - next(plan(experiment, nimg)).start) :]


def once_per_epoch(experiment: Experiment, stream: list[Pixels]) -> bool:
    """Whether every complete epoch contains each image exactly once, at any level."""
    split = slab_reader(experiment).splits[0]
    every = np.arange(split.rows)
    known = {image.tobytes(): row for size in (4, 8) for row, image in enumerate(split.read(size, every))}
    rows = [known[image.tobytes()] for image in stream]
    epochs = [rows[first : first + split.rows] for first in range(0, len(rows) - split.rows + 1, split.rows)]
    assert len(epochs) >= 2
    return all(sorted(epoch) == every.tolist() for epoch in epochs)


def same(one: list[Pixels], other: list[Pixels]) -> bool:
    return [image.tobytes() for image in one] == [image.tobytes() for image in other]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_each_image_comes_once_per_epoch_and_the_batches_are_the_same_for_any_number_of_ranks(
    experiment: Experiment, ranks: int
) -> None:
    stream = images_of(experiment, ranks)
    assert len(stream) == experiment.schedule.total_nimg
    assert once_per_epoch(experiment, stream)
    assert same(stream, images_of(experiment, 1))


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 3)])
def test_a_resume_in_mid_epoch_with_other_workers_goes_on_where_the_others_stopped(
    experiment: Experiment, before: int, after: int
) -> None:
    stream = images_of(experiment, before)[:NIMG] + images_of(experiment, after, NIMG)
    assert once_per_epoch(experiment, stream)
    assert same(stream, images_of(experiment, 1))


@pytest.mark.parametrize("images", [1, 96, 10_000])
def test_how_many_windows_are_read_together_is_no_part_of_the_order(
    experiment: Experiment, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = images_of(experiment, 2)
    monkeypatch.setattr(order, "SPAN_IMAGES", images)
    assert same(images_of(experiment, 2), expected)


def test_a_task_reads_its_levels_column_alone_and_each_row_group_once(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[tuple[str, str, int]] = Counter()
    images = ShardFiles.images

    def counting(self: ShardFiles, shard: shards.Shard, group: int, name: str, size: int | None) -> object:
        read[name, shard.path, group] += 1
        return images(self, shard, group, name, size)

    monkeypatch.setattr(ShardFiles, "images", counting)
    reader = slab_reader(experiment)
    for span, name in zip(plan(experiment, 0), ("r4", "r8"), strict=True):
        list(reader.read(span))
        assert len(span.windows) > 1
        assert {found for found, *_ in read} == {name}
        assert set(read.values()) == {1}  # also if two windows share a group
        read.clear()


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(experiment: Experiment, threads: int) -> None:
    reader = slab_reader(experiment)
    for span in plan(experiment, 0):
        assert list(replace(reader, threads=threads).read(span)) == list(reader.read(span))


def test_slabs_that_are_still_in_use_keep_their_pixels_and_the_memory_of_others_is_used_again(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "SPAN_IMAGES", 48)
    reader, spans = replace(slab_reader(experiment), ranks=2), list(plan(experiment, 0))
    held = [list(reader.read(span)) for span in spans]
    assert held == [list(replace(slab_reader(experiment), ranks=2).read(span)) for span in spans]
    memory = reader._memory._memory
    list(reader.read(spans[0]))
    assert reader._memory._memory is not memory
    del held
    memory = reader._memory._memory
    list(reader.read(spans[0]))
    assert reader._memory._memory is memory


def test_a_reader_can_be_pickled_after_use_and_leaves_its_files_behind(experiment: Experiment) -> None:
    reader, span = slab_reader(experiment), next(plan(experiment, 0))
    expected = list(reader.read(span))
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.splits[0]._files._open == {} != reader.splits[0]._files._open
    assert list(copy.read(span)) == expected


@pytest.mark.slow
def test_the_processes_that_plan_and_read_do_not_load_torch() -> None:
    code = "import sys, pipelines.data.feed.slab_tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
