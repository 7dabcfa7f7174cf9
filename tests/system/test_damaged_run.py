"""A real run on a damaged dataset stops at once with a sentence, or with data.damaged=skip continues without the images."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alae_core import order
from pipelines import presets
from pipelines.data.format.shards import Dataset
from pipelines.runs.history import read_history
from tests.support.packed import flip_a_byte
from tests.support.runs import OVERRIDES, Command

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SENTENCE = r"train/shard_00001\.parquet: row group 1, column r8 cannot be read .*CRC.*; restore that file or pack again"
LOST = range(144, 192)
"""Rows of that row group."""


def lost_images(dataset: Path) -> int:
    """Number of damaged images in the stream of the second level."""
    experiment = presets.load("debug_mnist32_style_alae")
    stream = order.StreamOrder(Dataset.open(str(dataset)).split("train").group_sizes, experiment.seed)
    windows = order.windows(experiment.schedule, experiment.data.window_images, experiment.algorithm.channels)
    rows = [stream.rows(window.start, window.stop) for window in windows if window.level == 1]
    return int(np.isin(np.concatenate(rows), LOST).sum())


def test_a_run_stops_at_damaged_images_without_a_retry_and_the_same_command_may_skip_them(
    tiny_dataset: Path, commands: Callable[..., Command], tmp_path: Path
) -> None:
    dataset = tmp_path / "data"
    shutil.copytree(tiny_dataset, dataset)
    flip_a_byte(dataset / "train/shard_00001.parquet", 1, "r8")
    place = {"storage": str(tmp_path), "name": "run", "dataset": str(dataset)}

    stopped = commands(**place).start()
    assert stopped.process is not None
    output, _ = stopped.process.communicate(timeout=240)
    assert stopped.process.returncode == 1
    # The run itself recorded the failure, so Ray did not retry.
    sentence = SENTENCE + r", or continue without its images by data\.damaged=skip; last checkpoint 0\.128 kimg"
    assert re.search(rf"^alae train: .*{sentence}", output, re.MULTILINE), output
    (first, *_), _ = read_history(stopped.run.history)
    assert first.metrics["time/data_start_s"] > 0
    assert first.metrics["data/skipped_images"] == 0

    output = commands(**place, overrides=(*OVERRIDES, "data.damaged=skip")).start().finish()
    assert len(re.findall(SENTENCE, output)) == 1, output
    ticks, _ = read_history(stopped.run.history)
    assert [tick.nimg for tick in ticks] == list(range(32, 481, 32))
    assert sum(tick.metrics["data/skipped_images"] for tick in ticks) == lost_images(dataset) > 0
