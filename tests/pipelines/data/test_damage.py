"""Damaged images: a run stops with an error or skips them, as `data.damaged` says, in the same way each time."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from alae_core import order
from pipelines import presets, storage
from pipelines.data.feed.feed import Feed, UnreadableError
from pipelines.data.feed.stream import plan, slab_reader
from pipelines.data.format import codec
from pipelines.data.format.codec import Pixels
from pipelines.data.format.shard_files import DamagedError
from pipelines.data.format.shards import Damaged, Dataset
from pipelines.data.pack.pack import pack
from pipelines.evaluation.features.extractors import ensure_extractor
from pipelines.evaluation.features.reference import Reals
from pipelines.experiment import Experiment
from tests.support.packed import flip_a_byte

FLIPPED = r"shard_00001\.parquet: row group 1, column r4 cannot be read .*CRC.*; restore that file or pack again"


BATCH = 8
LOST = range(144, 192)
"""The rows of the damaged row group."""


@pytest.fixture
def experiment(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment with windows and spans of 80 images, on a copy of the dataset that tests may damage."""
    monkeypatch.setattr(order, "SPAN_IMAGES", 80)
    shutil.copytree(tiny_dataset, tmp_path / "data")
    preset = presets.load("debug_mnist32_style_alae")
    return replace(preset, data=replace(preset.data, path=str(tmp_path / "data"), window_images=80))


def shard(experiment: Experiment, number: int) -> Path:
    return Path(experiment.data.path) / f"train/shard_{number:05d}.parquet"


def flip(experiment: Experiment) -> None:
    """Flip a bit in the 4x4 images of the fourth row group."""
    flip_a_byte(shard(experiment, 1), 1, "r4")


def feed_of(experiment: Experiment, damaged: Damaged, rank: int = 0, ranks: int = 1, nimg: int = 0) -> Feed:
    """A feed whose reader follows the policy `damaged`."""
    reader = replace(slab_reader(experiment), ranks=ranks, damaged=damaged)
    planned = list(plan(experiment, nimg))
    slabs = (list(reader.read(span))[rank] for span in planned)
    device = torch.device("cpu")
    return Feed(slabs, planned, nimg=nimg, rank=rank, ranks=ranks, channels=1, device=device)


def first_level(experiment: Experiment, feed: Feed) -> Pixels:
    """The images of the first level from the feed, [images, 4, 4, 1]."""
    return torch.cat([feed.next()[0] for _ in range(experiment.schedule.segments[0].stop // BATCH)]).numpy()


def lost_positions(experiment: Experiment) -> list[int]:
    """The positions of the damaged images in the stream of the first level."""
    found: list[int] = []
    for window in order.windows(experiment.schedule, experiment.data.window_images, 1):
        if window.level == 0:
            rows = order.StreamOrder(slab_reader(experiment).splits[0].group_sizes, experiment.seed)
            found += (window.start + np.flatnonzero(np.isin(rows.rows(window.start, window.stop), LOST))).tolist()
    return found


def test_a_run_stops_where_damaged_images_are_next_and_names_their_place(experiment: Experiment) -> None:
    flip(experiment)
    first = min(lost_positions(experiment)) // 80 * 80
    feed = feed_of(experiment, "stop", rank=1, ranks=2)
    for _ in range(first // BATCH):
        feed.next()
    with pytest.raises(UnreadableError, match=FLIPPED):
        feed.next()


def test_skipped_images_give_way_to_others_of_their_window_and_the_rest_stays(experiment: Experiment) -> None:
    whole = first_level(experiment, feed_of(experiment, "stop"))
    flip(experiment)
    feed = feed_of(experiment, "skip")
    found, lost = first_level(experiment, feed), lost_positions(experiment)
    kept = [position for position in range(len(whole)) if position not in lost]
    np.testing.assert_array_equal(found[kept], whole[kept])
    for start in (0, 80):
        own = [position for position in kept if start <= position < start + 80]
        gaps = [position for position in lost if start <= position < start + 80]
        np.testing.assert_array_equal(found[gaps], whole[np.resize(own, len(gaps))])
    assert feed.skipped == len(lost) > 0


def test_what_takes_the_place_of_skipped_images_does_not_depend_on_ranks_or_resumes(experiment: Experiment) -> None:
    flip(experiment)
    whole = first_level(experiment, feed_of(experiment, "skip"))
    for ranks in (2, 4):
        feeds = [feed_of(experiment, "skip", rank, ranks) for rank in range(ranks)]
        shares = [first_level(experiment, feed).reshape(-1, BATCH // ranks, 4, 4, 1) for feed in feeds]
        np.testing.assert_array_equal(np.concatenate(shares, axis=1).reshape(whole.shape), whole)
        assert {feed.skipped for feed in feeds} == {len(lost_positions(experiment))}
    nimg = max(lost_positions(experiment)) // BATCH * BATCH
    feed = feed_of(experiment, "skip", nimg=nimg)
    np.testing.assert_array_equal(feed.next()[0].numpy(), whole[nimg : nimg + BATCH])
    assert feed.skipped == len([position for position in lost_positions(experiment) if position >= nimg])


def test_a_damaged_row_group_is_warned_about_once(experiment: Experiment, caplog: pytest.LogCaptureFixture) -> None:
    flip(experiment)
    two_epochs = replace(experiment.schedule, stable_kimg=(0.4,))
    experiment = replace(experiment, schedule=two_epochs)
    feed = feed_of(experiment, "skip")
    with caplog.at_level(logging.WARNING):
        first_level(experiment, feed)
    assert len({position // 80 for position in lost_positions(experiment)}) > 1
    (sentence,) = feed.damage
    assert re.search(FLIPPED, sentence)
    assert [record.getMessage() for record in caplog.records].count(f"{sentence}; other images replace its images") == 1


def test_a_window_without_a_whole_image_stops_the_run_even_if_damage_is_skipped(experiment: Experiment) -> None:
    flip(experiment)
    small = replace(experiment, data=replace(experiment.data, window_images=BATCH))
    with pytest.raises(UnreadableError, match=f"{FLIPPED}, and there is no undamaged image to replace it"):
        first_level(small, feed_of(small, "skip"))


def test_what_is_evaluated_in_the_place_of_damaged_images_are_those_of_the_next_whole_row_group(
    experiment: Experiment,
) -> None:
    rows, others = np.arange(140, 200), (np.array(LOST) + len(LOST)) % 200
    whole = Dataset.open(experiment.data.path).split("train")
    expected = whole.read(4, np.concatenate([rows[:4], others, rows[52:]]))
    flip(experiment)
    split = Dataset.open(experiment.data.path, "skip").split("train")
    assert np.array_equal(split.read(4, rows), expected)
    assert split.replaced == set(LOST)


def test_an_evaluation_without_a_whole_row_group_says_what_is_damaged(experiment: Experiment) -> None:
    for path in Path(experiment.data.path).glob("train/*.parquet"):
        path.unlink()
    with pytest.raises(DamagedError, match=r"shard_0000.*there is no undamaged image to replace it"):
        Dataset.open(experiment.data.path, "skip").split("train").read(4, np.arange(10))


def test_statistics_of_a_damaged_dataset_are_not_kept_for_the_mended_one(experiment: Experiment) -> None:
    sound = shard(experiment, 1).read_bytes()

    def mean(damaged: Damaged) -> torch.Tensor:
        dataset = Dataset.open(experiment.data.path, damaged)
        return Reals(dataset=dataset, extractor=ensure_extractor(dataset, "pixels"), resolution=4).statistics().mean

    flip(experiment)
    with pytest.raises(DamagedError, match=FLIPPED):
        mean("stop")
    harmed = mean("skip")
    shard(experiment, 1).write_bytes(sound)
    mended = mean("stop")
    assert not torch.equal(mended, harmed)
    flip(experiment)
    assert torch.equal(mean("skip"), mended)


def test_a_classifier_learns_from_the_whole_images_alone(experiment: Experiment) -> None:
    flip_a_byte(shard(experiment, 1), 1, "r8")
    with pytest.raises(DamagedError, match="row group 1, column r8"):
        ensure_extractor(Dataset.open(experiment.data.path), "classifier")
    dataset = Dataset.open(experiment.data.path, "skip")
    ensure_extractor(dataset, "classifier")
    (about,) = Path(experiment.data.path).glob("extractors/classifier_*.json")
    rows = dataset.split("train").rows
    assert json.loads(about.read_text())["trained_on"] == f"train split, {rows - len(LOST)} images"


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_another_in_its_place(path: Path) -> None:
    pq.write_table(pa.table({"other": [1, 2]}), path)


@pytest.mark.parametrize("harm", [remove, cut_short, cut_in_half, empty, put_another_in_its_place])
def test_a_shard_that_is_missing_or_cut_or_another_is_damage_too(
    experiment: Experiment, harm: Callable[[Path], None]
) -> None:
    harm(shard(experiment, 1))
    feed = feed_of(experiment, "skip")
    first_level(experiment, feed)
    assert feed.skipped >= len(lost_positions(experiment))
    assert feed.damage and all("shard_00001.parquet" in sentence for sentence in feed.damage)
    with pytest.raises(UnreadableError, match=r"shard_00001\.parquet.*restore that file or pack again"):
        first_level(experiment, feed_of(experiment, "stop"))


def test_a_store_that_refuses_is_no_damage_and_skips_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> None:
        raise storage.StorageDeniedError(f"{url} may not be read")

    monkeypatch.setattr(storage, "pyarrow_filesystem", refuse)
    with pytest.raises(storage.StorageDeniedError, match="may not be read"):
        feed_of(experiment, "skip").next()


def pack_large(folder: Path, encoding: codec.Encoding) -> None:
    """Pack six images of 128 px in two row groups of one shard."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 128, 128, 3), np.uint8)
    np.savez(folder / "images.npz", images=pixels)
    pack(str(folder / "images.npz"), str(folder / "data"), encoding=encoding, rows_per_group=3, rows_per_shard=6)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
def test_a_flipped_byte_in_a_large_image_is_named_whatever_its_encoding(
    tmp_path: Path, encoding: codec.Encoding
) -> None:
    pack_large(tmp_path, encoding)
    flip_a_byte(tmp_path / "data/train/shard_00000.parquet", 1, "r128")
    split = Dataset.open(str(tmp_path / "data")).split("train")
    assert split.read(128, np.array([0, 2])).shape == (2, 128, 128, 3)
    with pytest.raises(DamagedError, match=r"shard_00000\.parquet: row group 1, column r128 cannot be read .*CRC"):
        split.read(128, np.array([0, 4]))


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_an_encoded_image_that_is_damaged_under_sound_checksums_is_named_by_the_decoder(
    tmp_path: Path, encoding: codec.Encoding
) -> None:
    pack_large(tmp_path, encoding)
    path = tmp_path / "data/train/shard_00000.parquet"
    stored = pq.read_table(path)
    values = stored["r128"].to_pylist()
    values[4] = values[4][:5000]
    place = stored.schema.get_field_index("r128")
    broken = stored.set_column(place, stored.schema.field(place), pa.array(values, stored.schema.field(place).type))
    pq.write_table(broken, path, row_group_size=3, compression="none", use_dictionary=False, write_page_checksum=True)
    split = Dataset.open(str(tmp_path / "data")).split("train")
    assert split.read(128, np.array([0, 2])).shape == (2, 128, 128, 3)
    with pytest.raises(
        DamagedError, match=r"shard_00000\.parquet: row group 1, column r128: row 1 is .*; restore that"
    ):
        split.read(128, np.array([0, 4]))
