"""What every source of images is: an index in arrays and a reader that fetches one image by its key.

A million images are a few dozen MB, which other processes read without a copy.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.sources.columns import NO_ATTRIBUTES
from pipelines.sources.decoding import Half, Payload, Pixels, decode, half_of

CHUNKS_AT_ONCE = 16
"""A chunked reader keeps at least so many chunks, so that reading which interleaves so many loads each once."""


class Reader(Protocol):
    """Fetches images by key; picklable: opens files in the process that reads. Called from several threads at once."""

    def fetch(self, key: Any) -> Payload:
        """An image file's bytes, or its pixels.

        Raises ImageRejectedError for one unusable image; StorageError and the like where the store itself fails.
        """


@dataclass(frozen=True)
class Source:
    """Images, and what is known about them before one is read.

    `index` has a row for each image: `id` string (what the source calls it), `key` (for `reader.fetch`) and `label`
    int64 (-1 for none). `attributes` has the same rows if it has columns; these are bool, int64, float64 or string,
    nullable.
    """

    name: str  # as the user gave it
    kind: str  # "folder", "zip", ... for people
    channels: int  # 1 or 3: what images are decoded to
    reader: Reader
    index: pa.Table
    attributes: pa.Table
    label_names: tuple[str, ...]  # empty if labels are bare numbers
    fingerprint: str  # changes when the images, their names, labels or attributes do, or which are held out
    skipped: tuple[tuple[str, str], ...] = ()  # (name, reason) of files that are not read at all
    chunks: NDArray[np.int64] | None = None
    """Number of the chunk of each image, ascending: images that are read together, such as a Parquet row group.
    None: any image is read alone."""
    held_out: NDArray[np.bool_] | None = None
    """Which images are for validation, [N], where the source itself says so."""
    half: Half | None = None
    """The side of each image that is meant; None: the whole."""

    @property
    def label_count(self) -> int:
        """The number of named classes, or the highest label and one; 0 where there are no labels."""
        highest = pc.max(self.index["label"]).as_py()
        return len(self.label_names) or (-1 if highest is None else highest) + 1

    def describe(self) -> str:
        """One line for people."""
        classes = f" in {self.label_count} classes" if self.label_count else ""
        attributes = f", attributes {', '.join(self.attributes.column_names)}" if self.attributes.num_columns else ""
        return f"{self.name}: {self.kind} of {len(self):,} images{classes}{attributes}"

    def load(self, row: int) -> Pixels:
        """Image number `row`, decoded: uint8 [H, W, channels]; raises as `Reader.fetch`."""
        return self.pixels(self.index["key"][row].as_py())

    def pixels(self, key: Any, notes: list[str] | None = None) -> Pixels:
        """The image behind `key`, as `load`; `notes`: see `decoding.decode`."""
        image = decode(self.reader.fetch(key), self.channels, notes)
        return image if self.half is None else half_of(image, self.half)

    def __len__(self) -> int:
        return self.index.num_rows


def make_source(
    name: str,
    kind: str,
    channels: int,
    reader: Reader,
    *,
    keys: pa.Array,
    content: Iterable[bytes | memoryview],
    ids: Sequence[str] | None = None,
    labels: NDArray[np.int64] | None = None,
    label_names: tuple[str, ...] = (),
    attributes: pa.Table = NO_ATTRIBUTES,
    skipped: tuple[tuple[str, str], ...] = (),
    chunks: NDArray[np.int64] | None = None,
) -> Source:
    """A source of the images behind `keys`; without `ids` they are numbered, and `content` stands for their pixels."""
    columns = {
        "id": pa.array([f"{row:08d}" for row in range(len(keys))] if ids is None else ids, pa.string()),
        "key": keys,
        "label": pa.array(np.full(len(keys), -1) if labels is None else labels, pa.int64()),
    }
    index = pa.table(columns)
    known = _digest((index, attributes), [repr(label_names).encode(), *content])
    return Source(name, kind, channels, reader, index, attributes, label_names, known, skipped, chunks)


def _digest(tables: Iterable[pa.Table], blocks: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for table in tables:
        digest.update(table.schema.remove_metadata().to_string().encode())
        for batch in table.combine_chunks().to_batches():
            digest.update(batch.serialize())
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
