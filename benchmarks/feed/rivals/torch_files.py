"""torch's DataLoader over single image files, on this machine or in an object store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler  # noqa: TID251

from benchmarks.feed.measure import Batch, answer, measure
from benchmarks.feed.rivals.decoding import Decode, Decoder, decode

BATCH = 32


class Files(Dataset[torch.Tensor]):
    """Dataset of decoded images by index, uint8 [R, R, 3]."""

    def __init__(self, files: list[str], to_pixels: Decode) -> None:
        self._files, self._to_pixels = files, to_pixels
        self._store: Any = None

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(self._to_pixels(self._read(self._files[number])))

    def _read(self, file: str) -> bytes:
        if "://" not in file:
            return Path(file).read_bytes()
        if self._store is None:  # by each process for itself: it does not survive a fork
            self._store = fsspec.filesystem(file.split("://")[0])
        return self._store.cat_file(file)


class Endless(Sampler[int]):
    """Sampler of shuffled epochs without end, so that no new epoch has to start."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng(0)
        while True:
            yield from random.permutation(self._count).tolist()


def run(files: list[str], side: int, decoder: Decoder, workers: int, seconds: float, warm_s: float) -> dict[str, Any]:
    """Batches of BATCH images from `files`."""

    def batches() -> Iterator[Batch]:
        images = Files(files, decode(decoder, side))
        loader = DataLoader(images, BATCH, sampler=Endless(len(files)), num_workers=workers)
        return (batch.numpy() for batch in loader)

    return measure(batches, seconds, warm_s)


if __name__ == "__main__":
    answer(run)
