"""Packs a million images made from a few photographs through Ray Data, and records the memory in use.

Image n is a crop of one photograph, perhaps mirrored, with changed contrast and colour; n determines all choices.
"""

import argparse
import csv
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipelines.cli import tables
from pipelines.cli.bar import Bar
from pipelines.data.pack.pack import pack
from pipelines.sources import Source, open_source
from pipelines.sources.decoding import Pixels

PARTS = ("driver", "workers", "system")
MASK = 2**64 - 1


@dataclass(frozen=True)
class Variations:
    """Makes image n of photographs, uint8 [P, S, S, 3], in shared memory where Ray reads it."""

    photos: NDArray[np.uint8]

    def fetch(self, number: int) -> Pixels:
        """Image n, uint8 [s, s, 3], with s from 48 to 79."""
        draws = _mixed(number)

        def draw(below: int) -> int:
            nonlocal draws
            draws, value = divmod(draws, below)
            return value

        side = 48 + draw(32)
        photo = self.photos[draw(len(self.photos))]
        top, left = draw(len(photo) - side + 1), draw(len(photo) - side + 1)
        crop = photo[top : top + side, left : left + side]
        if draw(2):
            crop = crop[:, ::-1]
        tint = np.array([draw(128), draw(128), draw(128)], np.uint8)
        return (crop >> 1) + tint


def _mixed(number: int) -> int:
    """128 pseudorandom bits from an integer, by two steps of splitmix64 (Steele et al. 2014)."""
    return _step(2 * number) << 64 | _step(2 * number + 1)


def _step(number: int) -> int:
    mixed = (number + 1) * 0x9E3779B97F4A7C15 & MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
    return mixed ^ mixed >> 31


def variations(photos: str, count: int) -> Source:
    """Source of `count` images made from those of another source, which must have one size and fit in memory."""
    opened = open_source(photos, 3)
    numbers = np.arange(count)
    return Source(
        name=f"{count} variations of {photos}",
        kind="variations",
        channels=3,
        reader=Variations(np.stack([opened.load(row) for row in range(len(opened))])),
        index=pa.table({"id": pa.array(map("{:07d}".format, numbers)), "key": numbers, "label": numbers % len(opened)}),
        attributes=pa.table({}),
        label_names=(),
        fingerprint=f"variations-{count}-{opened.fingerprint}",
    )


class Memory(threading.Thread):
    """Writes the proportional set size (PSS, shared pages counted once) of this process and of Ray's to a CSV file."""

    def __init__(self, path: Path, every_s: float) -> None:
        super().__init__(daemon=True)
        self.images = 0
        self._every_s = every_s
        self._ended = threading.Event()
        self._file = path.open("w", newline="")
        self._began = time.monotonic()

    def run(self) -> None:
        rows = csv.writer(self._file)
        rows.writerow(["seconds", "images", *(f"{part}_mib" for part in PARTS)])
        while not self._ended.wait(self._every_s):
            images, found = self.images, Counter[str]()
            for part, size in _processes():
                found[part] += size
            seconds = time.monotonic() - self._began
            rows.writerow([f"{seconds:.1f}", images, *(round(found[part] / 2**20, 1) for part in PARTS)])
            self._file.flush()

    def end(self) -> None:
        """Stops after the measurement in progress."""
        self._ended.set()
        self.join()
        self._file.close()


def _processes() -> Iterator[tuple[str, int]]:
    """Kind and PSS of every process."""
    driver = psutil.Process()
    for process in (driver, *driver.children(recursive=True)):
        try:
            part = "driver" if process == driver else "workers" if "ray::" in process.name() else "system"
            yield part, process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def plot(table: Path, image: Path) -> None:
    """Draw the memory curve of a CSV file that `Memory` wrote."""
    import matplotlib.pyplot as plt

    with table.open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    seconds = [row["seconds"] for row in rows]
    axes.stackplot(seconds, *([row[f"{part}_mib"] for row in rows] for part in PARTS), labels=PARTS)
    axes.set(xlabel="seconds", ylabel="PSS in MiB", xlim=(0, seconds[-1]))
    axes.legend(loc="lower right", ncols=len(PARTS))
    packed = axes.twinx()
    packed.plot(seconds, [row["images"] / 1e3 for row in rows], color="black")
    packed.set(ylabel="thousand images packed (line)", ylim=(0, None))
    figure.savefig(image, dpi=110)


def main() -> int:
    """Pack, and print the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dest", help="folder of the dataset, new")
    parser.add_argument("--photos", default="../shared/data/photos_bedroom256.zip", help="any source of equal images")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--cpus", type=int, default=2, help="packing tasks at a time")
    parser.add_argument("--memory", type=Path, default=Path("memory.csv"), help="CSV file to write")
    parser.add_argument("--plot", type=Path, help="image of the memory curve to write")
    arguments = parser.parse_args()
    ray.init(address="local", include_dashboard=False, num_cpus=arguments.cpus, log_to_driver=False)
    source = variations(arguments.photos, arguments.images)
    memory = Memory(arguments.memory, every_s=2.0)
    memory.start()
    began = time.monotonic()
    with Bar("packing") as bar:

        def progress(done: int, total: int) -> None:
            memory.images = done
            bar(done, total)

        packed = pack(source, arguments.dest, resolution=arguments.resolution, executor="ray", progress=progress)
    seconds = time.monotonic() - began
    memory.end()
    print(tables.packed(packed))
    print(f"{seconds:.1f} s on {arguments.cpus} CPUs: {arguments.images / seconds:,.0f} images/s")
    if arguments.plot:
        plot(arguments.memory, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
