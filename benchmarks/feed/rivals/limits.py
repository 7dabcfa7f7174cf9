"""Upper bounds of the speed: pyarrow reading our shards in order, and imagecodecs decoding images in memory."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from benchmarks.feed.measure import Batch, answer, measure
from benchmarks.feed.rivals.decoding import Decode, Decoder, decode

BATCH = 32


def scan(shards: list[str], side: int, decoder: Decoder, seconds: float, warm_s: float) -> dict[str, Any]:
    """Scan one column in one process, without shuffling or page checksums and without another copy of raw pixels."""
    to_pixels = decode(decoder, side)

    def batches() -> Iterator[Batch]:
        for shard in itertools.cycle(shards):
            file = _opened(shard)
            for group in range(file.num_row_groups):
                for column in file.read_row_group(group, [f"r{side}"]).column(0).chunks:
                    yield from _batches(column, side, to_pixels if decoder != "raw" else None)

    return measure(batches, seconds, warm_s)


def _batches(column: pa.Array, side: int, to_pixels: Decode | None) -> Iterator[Batch]:
    if to_pixels is None:
        pixels = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * side * side * 3 :]
        pixels = pixels.reshape(-1, side, side, 3)[: len(column)]
        yield from (pixels[first : first + BATCH] for first in range(0, len(pixels), BATCH))
        return
    for first in range(0, len(column), BATCH):
        yield np.stack([to_pixels(image.as_py()) for image in column[first : first + BATCH]])


def _opened(shard: str) -> pq.ParquetFile:
    if "://" not in shard:
        return pq.ParquetFile(shard, memory_map=True)
    store, path = pa.fs.FileSystem.from_uri(shard)
    return pq.ParquetFile(store.open_input_file(path), pre_buffer=True)


def decoding(files: list[str], side: int, threads: int, seconds: float, warm_s: float) -> dict[str, Any]:
    """Decode the bytes of `files` from memory by imagecodecs, on several threads."""
    images = [Path(file).read_bytes() for file in files]
    to_pixels = decode("imagecodecs", side)

    def decoded(first: int) -> Batch:
        return np.stack([to_pixels(images[number % len(images)]) for number in range(first, first + BATCH)])

    def batches() -> Iterator[Batch]:
        with ThreadPoolExecutor(threads) as pool:
            coming = [pool.submit(decoded, k * BATCH) for k in range(2 * threads)]
            for first in itertools.count(len(coming) * BATCH, BATCH):
                batch = coming.pop(0).result()
                coming.append(pool.submit(decoded, first))
                yield batch

    return measure(batches, seconds, warm_s)


def run(what: str, **options: Any) -> dict[str, Any]:
    """Run the scan or the decoding, by its name."""
    return {"scan": scan, "decoding": decoding}[what](**options)


if __name__ == "__main__":
    answer(run)
