"""A reading task requests little more than its level's bytes, and several row groups at once, from an object store."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.data.format.codec import Stored
from pipelines.data.format.shard_files import ShardFiles
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from tests.support.proxy import SlowStore
from tests.support.store import set_s3_environment

pytestmark = pytest.mark.store

IMAGES, GROUP, SHARD = 96, 12, 48
FOOTER_BYTES = 2**16  # bytes of a file's end that pyarrow fetches at once


@pytest.fixture
def stored(s3: str, tmp_path: Path) -> str:
    """96 colour images of 64 px in eight row groups of two shards."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 64, 64, 3), np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    pack(str(tmp_path / "images.npz"), f"{s3}/data", rows_per_group=GROUP, rows_per_shard=SHARD)
    return f"{s3}/data"


def test_a_level_costs_a_request_for_each_row_group_and_its_own_bytes(
    stored: str, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SlowStore(moto_endpoint) as proxy:
        set_s3_environment(monkeypatch, proxy.endpoint)
        split = Dataset.open(stored).split("train")
        before = len(proxy.log), proxy.bytes_down
        split.read(4, np.arange(IMAGES))
        opened = len(proxy.log), proxy.bytes_down
        split.read(64, np.random.default_rng(1).permutation(IMAGES))
        after = len(proxy.log), proxy.bytes_down
    shards, groups = IMAGES // SHARD, IMAGES // GROUP
    assert opened[0] - before[0] == 2 * shards + groups  # the size of a file, its footer, then the pages
    assert opened[1] - before[1] <= shards * FOOTER_BYTES + 1000 * (opened[0] - before[0])
    assert after[0] - opened[0] == groups
    assert 1 <= (after[1] - opened[1]) / (IMAGES * 64 * 64 * 3) <= 1.02


def test_row_groups_are_fetched_from_a_store_several_at_a_time(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, together = ShardFiles.images, threading.Barrier(4, timeout=60)

    def meeting(self: ShardFiles, *arguments: Any) -> Stored:
        together.wait()
        return images(self, *arguments)

    monkeypatch.setattr(ShardFiles, "images", meeting)
    split = Dataset.open(stored).split("train")
    assert split.read(8, np.arange(IMAGES)).shape == (IMAGES, 8, 8, 3)
