"""CPU cost of reading packed images, part by part, beside pyarrow, Pillow and imagecodecs.

    python -m benchmarks.reading PHOTOS.zip

PHOTOS.zip holds colour photographs of 256x256 px. All bytes are in memory or in the page cache. Each time is the minimum of
several rounds, so that other load on the machine has little effect.
"""

import argparse
import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipelines.data.format import codec
from pipelines.data.format.pages import fixed_values
from pipelines.data.format.pyramid import pyramid
from pipelines.sources.decoding import Pixels

IMAGES, ROUNDS = 128, 15
GROUP = 256  # images of 64 px to a row group, which is 3 MiB


def least(clock: Callable[[], float], work: Callable[[], object]) -> float:
    """Minimum wall-clock time of one call, in seconds."""
    found = []
    for _ in range(ROUNDS):
        began = clock()
        work()
        found.append(clock() - began)
    return min(found)


def cpu_s(work: Callable[[], object]) -> float:
    """Minimum CPU time of one call, in seconds."""
    return least(time.process_time, work)


def photographs(archive: Path) -> Pixels:
    """First images of a zip, uint8 [IMAGES, 256, 256, 3]."""
    with zipfile.ZipFile(archive) as stored:
        names = [name for name in sorted(stored.namelist()) if name.lower().endswith((".jpg", ".jpeg", ".png"))]
        files = [stored.read(name) for name in names[:IMAGES]]
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])


def by_pillow(images: Pixels, encoding: str, **options: object) -> list[bytes]:
    """Images encoded by Pillow."""
    written = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, encoding, **options)  # type: ignore[arg-type]
        written.append(file.getvalue())
    return written


def decoders(encoding: codec.Encoding, stored: list[bytes], shape: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    """Images per CPU second of each decoder of one encoding."""
    library = imagecodecs.png_decode if encoding == "png" else imagecodecs.jpeg8_decode
    ours, room, every = codec.values(pa.array(stored, pa.binary())), np.empty(shape, np.uint8), np.arange(len(stored))
    ways: dict[str, Callable[[], object]] = {
        "Pillow": lambda: [np.asarray(Image.open(io.BytesIO(file))) for file in stored],
        "imagecodecs": lambda: [library(file) for file in stored],
        "pipelines.data.format.codec": lambda: codec.decode_into(room, every, ours, every, encoding),
    }
    for name, work in ways.items():
        yield name, len(stored) / cpu_s(work)


def encodings(images: Pixels) -> Iterator[str]:
    """Table with a line for each encoding and each of its decoders."""
    kept: dict[str, tuple[codec.Encoding, Callable[[], list[bytes]]]] = {
        "PNG by Pillow, level 4": ("png", lambda: by_pillow(images, "png", compress_level=4)),
        "PNG by pipelines.data.format.codec": ("png", lambda: [codec.encode(image, "png") for image in images]),
        "JPEG by pipelines.data.format.codec": ("jpeg", lambda: [codec.encode(image, "jpeg") for image in images]),
    }
    for title, (encoding, encode) in kept.items():
        began = time.process_time()
        stored = encode()
        took = time.process_time() - began
        kilobytes = sum(map(len, stored)) / len(stored) / 1000
        yield f"| {title} | encoding | {len(images) / took:,.0f} | {kilobytes:.1f} |"
        for name, rate in decoders(encoding, stored, images.shape) if "Pillow" not in title else ():
            yield f"| {title} | decoding by {name} | {rate:,.0f} | |"


def threads(images: Pixels) -> Iterator[str]:
    """Table with a line for each number of decoding threads, by wall-clock time."""
    every = np.arange(len(images))
    for encoding in ("png", "jpeg"):
        stored = codec.values(pa.array([codec.encode(image, encoding) for image in images], pa.binary()))
        room = np.empty_like(images)
        for count in (1, 2):
            shares = np.array_split(every, count)
            decode = partial(_decode_all, room, shares, stored, encoding)
            yield f"| {encoding.upper()} | {count} | {len(images) / least(time.perf_counter, decode):,.0f} |"


def _decode_all(room: Pixels, shares: list[NDArray[np.int64]], stored: codec.Stored, encoding: codec.Encoding) -> None:
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(lambda share: codec.decode_into(room, share, stored, share, encoding), shares))


def row_groups(images: Pixels) -> Iterator[str]:
    """Table with a line for each way to read a row group of raw images from the page cache."""
    small = pyramid(images)[64]
    group = np.concatenate([small] * (GROUP // len(small) + 1))[:GROUP].reshape(GROUP, -1)
    column = pa.array([image.tobytes() for image in group], pa.binary(group.shape[1]))
    table = pa.table([column], pa.schema([pa.field("r64", column.type, nullable=False)]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.parquet"
        pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
        source, metadata = pa.OSFile(str(path)), pq.read_metadata(path)
        place = metadata.row_group(0).column(0)

        def by_pyarrow(checked: bool) -> object:
            reader = pq.ParquetFile(source, metadata=metadata, page_checksum_verification=checked)
            return reader.read_row_group(0, use_threads=False)

        ways: dict[str, Callable[[], object]] = {
            "pyarrow, checksums verified": lambda: by_pyarrow(True),
            "pyarrow, checksums not verified": lambda: by_pyarrow(False),
            "pipelines.data.format.pages, checksums verified": lambda: fixed_values(
                source.read_at(place.total_compressed_size, place.data_page_offset), group.shape[1]
            ),
        }
        for name, work in ways.items():
            yield f"| {name} | {1e6 * cpu_s(work) / GROUP:.2f} |"


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading")
    parser.add_argument("photos", type=Path, help="zip of colour photographs of 256x256 px")
    images = photographs(parser.parse_args().photos)
    print(f"{len(images)} photographs of 256 px\n")
    print("| files | | images per CPU second | kB each |\n| --- | --- | --- | --- |")
    print("\n".join(encodings(images)))
    print("\nDecoding by pipelines.data.format.codec, by the clock\n")
    print("| files | threads | images per second |\n| --- | --- | --- |")
    print("\n".join(threads(images)))
    print(f"\nA row group of {GROUP} raw images of 64 px from the page cache\n")
    print("| read by | us per image |\n| --- | --- |")
    print("\n".join(row_groups(images)))


if __name__ == "__main__":
    main()
