"""The order of packing: it depends on the seed alone, suits sources read in chunks, and is sliced into shards."""

import numpy as np
import pytest

from pipelines.data.pack.order import Job, rows_per_group, rows_per_shard, shard_jobs, split_orders, stored_bytes
from pipelines.sources.source import CHUNKS_AT_ONCE

CHUNKS = np.repeat(np.arange(50), 20)  # a thousand images in 50 chunks


def test_a_source_with_random_access_is_shuffled_as_a_whole() -> None:
    order = split_orders(1000, None, 0.0, seed=3)["train"]
    np.testing.assert_array_equal(order, np.random.Generator(np.random.PCG64(3)).permutation(1000))


@pytest.mark.parametrize("chunks", [None, CHUNKS])
def test_every_image_is_in_one_split_once(chunks: np.ndarray | None) -> None:
    orders = split_orders(1000, chunks, 0.13, seed=0)
    assert len(orders["validation"]) == 130
    np.testing.assert_array_equal(np.sort(np.concatenate(list(orders.values()))), np.arange(1000))


@pytest.mark.parametrize("chunks", [None, CHUNKS])
def test_the_order_depends_on_the_seed_alone(chunks: np.ndarray | None) -> None:
    first, again, other = (split_orders(1000, chunks, 0.1, seed)["train"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9


def test_held_out_images_come_from_everywhere_and_are_the_same_with_and_without_chunks() -> None:
    plain = split_orders(1000, None, 0.2, seed=0)["validation"]
    chunked = split_orders(1000, CHUNKS, 0.2, seed=0)["validation"]
    assert set(plain) == set(chunked)
    assert len(set(CHUNKS[chunked])) > 45


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_chunked_source_is_read_once_with_the_chunks_a_reader_keeps(split: str) -> None:
    read = CHUNKS[split_orders(1000, CHUNKS, 0.2, seed=0)[split]]
    kept: dict[int, None] = {}  # least recently used first
    fetched = 0
    for chunk in read.tolist():
        if chunk in kept:
            del kept[chunk]
        elif len(kept) == CHUNKS_AT_ONCE:
            del kept[next(iter(kept))]
            fetched += 1
        else:
            fetched += 1
        kept[chunk] = None
    assert fetched == len(set(read))


def test_a_chunked_source_is_well_mixed_within_its_windows() -> None:
    order = split_orders(1000, CHUNKS, 0.0, seed=0)["train"]
    window = CHUNKS_AT_ONCE * 20
    for start in range(0, 1000 - window, window):
        chunks = CHUNKS[order[start : start + window]]
        assert len(set(chunks)) == CHUNKS_AT_ONCE
        assert (np.diff(chunks) != 0).mean() > 0.8
    assert np.abs(np.diff(order[::window])).min() > 20


def test_shards_are_slices_of_the_order_whatever_becomes_of_their_images() -> None:
    jobs = shard_jobs({"train": np.arange(25), "validation": np.arange(10)}, 10)
    assert jobs == [
        Job("train", 0, 0, 10),
        Job("train", 1, 10, 20),
        Job("train", 2, 20, 25),
        Job("validation", 0, 0, 10),
    ]
    assert [job.images for job in jobs] == [10, 10, 5, 10]
    assert jobs[2].path == "train/shard_00002.parquet"


@pytest.mark.parametrize("resolution", [4, 32, 64, 128, 256, 1024])
@pytest.mark.parametrize("encoding", ["png", "jpeg", "raw"])
def test_row_groups_and_shards_stay_within_their_bytes(resolution: int, encoding: str) -> None:
    image = stored_bytes(resolution, 3, encoding)  # type: ignore[arg-type]
    group, shard = (rows(resolution, 3, encoding) for rows in (rows_per_group, rows_per_shard))  # type: ignore[arg-type]
    for rows, limit, most in ((group, 16 * 2**20, 256), (shard, 192 * 2**20, 16384)):
        assert rows.bit_count() == 1 and rows * image <= limit
        assert rows == most or 2 * rows * image > limit
    assert shard % group == 0


def test_images_larger_than_a_row_group_still_get_one_row() -> None:
    assert rows_per_group(1024, 3, "raw") >= 1
    assert stored_bytes(64, 3, "jpeg") == 64 * 64 * 3
