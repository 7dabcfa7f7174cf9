"""The form of every image source: an index in arrays and a reader that fetches one image by its key.

The index of a million images takes a few dozen MB, which other processes read without a copy.
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
"""Minimum number of chunks that a chunked reader caches: a pass that interleaves this many loads each chunk once."""


class Reader(Protocol):
    """Fetches images by key.

    A reader can be pickled, opens files only in the process that reads, and is called from several threads at once.
    """

    def fetch(self, key: Any) -> Payload:
        """The encoded bytes or the pixels of one image.

        Raises ImageRejectedError if this image is unusable, and StorageError or another OSError if the store fails.
        """


@dataclass(frozen=True)
class Source:
    """Images and the facts that are known before any of them is read.

    `index` has one row per image: `id` string (its name in the source), `key` (for `reader.fetch`) and `label` int64
    (-1 for none). `attributes` has the same rows if it has any columns, which are nullable bool, int64, float64 or
    string.
    """

    name: str  # as given by the user
    kind: str  # "folder", "zip" and so on, for messages
    channels: int  # number of channels that images are decoded to, 1 or 3
    reader: Reader
    index: pa.Table
    attributes: pa.Table
    label_names: tuple[str, ...]  # empty if labels are plain integers
    fingerprint: str  # changes with the images, names, labels, attributes and the choice of held-out images
    skipped: tuple[tuple[str, str], ...] = ()  # (name, reason) of each file that is not read
    chunks: NDArray[np.int64] | None = None
    """Chunk number of each image, [N], ascending. A chunk's images are read together, such as a Parquet row group.
    None: every image is read alone."""
    held_out: NDArray[np.bool_] | None = None
    """Whether each image is for validation, [N]. None: the source does not say."""
    half: Half | None = None
    """The half of each image that belongs to this source. None: the whole image."""

    @property
    def label_count(self) -> int:
        """The number of named classes, otherwise the highest label plus one; 0 if there are no labels."""
        highest = pc.max(self.index["label"]).as_py()
        return len(self.label_names) or (-1 if highest is None else highest) + 1

    def describe(self) -> str:
        """One line with the name, kind, number of images, classes and attributes."""
        classes = f" in {self.label_count} classes" if self.label_count else ""
        attributes = f", attributes {', '.join(self.attributes.column_names)}" if self.attributes.num_columns else ""
        return f"{self.name}: {self.kind} of {len(self):,} images{classes}{attributes}"

    def load(self, row: int) -> Pixels:
        """The decoded image of row `row`, uint8 [H, W, channels]; raises as `Reader.fetch`."""
        return self.pixels(self.index["key"][row].as_py())

    def pixels(self, key: Any, notes: list[str] | None = None) -> Pixels:
        """The decoded image of `key`, as in `load`; `notes` is that of `decoding.decode`."""
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
    """Make a source of the images of `keys`.

    The default `ids` are the row numbers. `content` are bytes that change with the pixels; they enter the fingerprint.
    """
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
