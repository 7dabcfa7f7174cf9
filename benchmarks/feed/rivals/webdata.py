"""WebDataset: tars read in sequence, images shuffled in a buffer, read by torch's DataLoader."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import webdataset
from torch.utils.data import DataLoader  # noqa: TID251

from benchmarks.feed.measure import Batch, answer, measure
from benchmarks.feed.rivals.decoding import Decoder, decode

BATCH = 32
BUFFER = 1000  # images, as in the library's examples


def run(shards: list[str], side: int, decoder: Decoder, workers: int, seconds: float, warm_s: float) -> dict[str, Any]:
    """`shards`: local files, or commands that print a tar ("pipe:curl ...")."""
    to_pixels = decode(decoder, side)

    def batches() -> Iterator[Batch]:
        images = (
            webdataset.WebDataset(shards, shardshuffle=len(shards), nodesplitter=webdataset.split_by_node)
            .repeat()
            .shuffle(BUFFER)
            .map(lambda sample: to_pixels(sample["image"]))
            .batched(BATCH, collation_fn=lambda images: torch.from_numpy(np.stack(images)), partial=False)
        )
        loader = DataLoader(images, batch_size=None, num_workers=workers)
        return (batch.numpy() for batch in loader)

    return measure(batches, seconds, warm_s)


if __name__ == "__main__":
    answer(run)
