"""MosaicML streaming: StreamingDataset read by torch's DataLoader."""

import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader  # noqa: TID251

from alae_core.torchvision_import import torchvision
from benchmarks.feed.measure import Batch, answer, measure
from benchmarks.feed.rivals.decoding import Decode, Decoder, decode

torchvision()  # in a way that works beside any build of torch; the next imports need it
from streaming import StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402

BATCH = 32
EPOCHS_IN_ONE = 40  # counted as one epoch, so that the start of an epoch is not what is measured


class Images(StreamingDataset):
    """Dataset of decoded images, uint8 [R, R, 3]."""

    def __init__(self, to_pixels: Decode, **options: Any) -> None:
        super().__init__(shuffle=True, batch_size=BATCH, **options)
        self._to_pixels = to_pixels

    def __getitem__(self, number: Any) -> torch.Tensor:
        return torch.from_numpy(self._to_pixels(super().__getitem__(number)["image"]))


def run(
    place: str, count: int, side: int, decoder: Decoder, workers: int, seconds: float, warm_s: float
) -> dict[str, Any]:
    """Read shards of a local folder in place, or of an s3:// address once through an empty local folder."""
    clean_stale_shared_memory()
    to_pixels = decode(decoder, side)

    def batches(**options: Any) -> Iterator[Batch]:
        loader = DataLoader(Images(to_pixels, **options), BATCH, num_workers=workers)
        return (batch.numpy() for batch in loader)

    if "://" not in place:
        return measure(lambda: batches(local=place, epoch_size=EPOCHS_IN_ONE * count), seconds, warm_s)
    with tempfile.TemporaryDirectory() as local:
        return measure(lambda: batches(remote=place, local=local), seconds, warm_s=0.0)


if __name__ == "__main__":
    answer(run)
