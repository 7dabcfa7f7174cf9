"""Accuracy of the classifier of binary attributes, trained on a table of images with attributes; a Markdown table.

    python -m benchmarks.attributes cartoon_faces128.parquet --resolution 32

A tenth of the images is held out to measure the accuracy, which the table compares with always predicting the commoner value.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import torch

from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.evaluation.features.attributes import Attributes, binary_labels, ensure_attributes

VALIDATION = 0.1


def table(dataset: Dataset, found: Attributes) -> str:
    """Markdown table with a row for each attribute: the share of its second value, and the classifier's accuracy."""
    held_out = np.arange(dataset.split("validation").rows)
    labels = binary_labels(dataset, "validation", found.values, held_out)
    lines = ["| attribute | share | commoner value | classifier | 2 standard errors |", "|---|---|---|---|---|"]
    for name, column in zip(found.names, labels.T, strict=True):
        known = column[column >= 0]
        share, accuracy = known.mean(), found.accuracies[name]
        assert accuracy is not None, "every image of the split has no value"
        # Laplace's estimate, so that the error of an attribute without mistakes is not 0.
        expected = (accuracy * len(known) + 1) / (len(known) + 2)
        error = 2 * (expected * (1 - expected) / len(known)) ** 0.5
        values = (share, max(share, 1 - share), accuracy, error)
        lines.append(f"| {name} | " + " | ".join(f"{100 * value:.1f} %" for value in values) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack, train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a source of images with bool attributes, such as cartoon_faces128.parquet")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        pack(given.data, folder + "/packed", resolution=given.resolution, validation_fraction=VALIDATION)
        dataset = Dataset.open(folder + "/packed")
        began, began_cpu = time.perf_counter(), time.process_time()
        found = ensure_attributes(dataset)
        took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        sizes = [dataset.split(name).rows for name in ("train", "validation")]
        print(table(dataset, found))
    print(f"\n{sizes[0]:,} images of {given.resolution} px to train on, {sizes[1]:,} held out.", end=" ")
    print(f"Training and scoring took {took:.1f} s, {took_cpu:.1f} CPU-s, on {given.threads} thread(s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
