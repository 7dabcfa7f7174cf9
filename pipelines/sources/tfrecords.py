"""Raw images in the TFRecords of ProGAN and StyleGAN (one file per resolution) and of ALAE (several per resolution).

A record consists of its length, a checksum of the length, a tf.train.Example with `shape` (C, H, W) and `data` (uint8),
and a checksum of the Example.
"""

import io
import re
import struct
from collections.abc import Iterator, Sequence

import google_crc32c
import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pipelines import storage
from pipelines.sources.addresses import place
from pipelines.sources.chunks import SPAN, Span, SpanReader, chunked
from pipelines.sources.decoding import ImageRejectedError, Pixels
from pipelines.sources.ranges import opened
from pipelines.sources.source import Source, make_source

_FILE = re.compile(r"(?P<set>.*)-r(?P<level>\d\d)\.tfrecords?(?P<part>\.\d+(-of-\d+)?)?$")
_HEADER = struct.Struct("<QI")  # the length and its checksum
_CHECKSUM = struct.Struct("<I")
_SCHEMA = """
name: "example.proto" package: "sources" syntax: "proto3"
message_type { name: "Bytes" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "Integers" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type { name: "Feature"
  field { name: "bytes" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".sources.Bytes" }
  field { name: "integers" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".sources.Integers" } }
message_type { name: "Entry"
  field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".sources.Feature" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".sources.Entry" } }
message_type { name: "Example"
  field { name: "features" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".sources.Features" } }
"""
_FILE_DESCRIPTOR = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_FILE_DESCRIPTOR)
_Example = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("sources.Example"))


def is_tfrecord(path: str) -> bool:
    """Whether a file's name has the form `name-r08.tfrecords`, optionally with a part, `.003` or `.003-of-016`."""
    return _FILE.match(path) is not None


def open_tfrecords(source: str, urls: Sequence[str], channels: int | None) -> Source:
    """Open the images of the highest resolution among the files, with the labels of the `.labels` file beside them.

    The default of `channels` is 1 if the first image has one channel, otherwise 3. Raises ValueError if the files
    belong to several sets, a file is damaged or cut short, or the labels do not fit.
    """
    finest, labels_url = _finest(source, urls)
    records = [record for number, url in enumerate(finest) for record in _records(source, url, number)]
    reader = SpanReader(tuple(finest), _image)
    keys = pa.array([span for span, _ in records], SPAN)
    found = make_source(
        source,
        "TFRecord",
        channels or _channels(reader, keys),
        reader,
        keys=keys,
        labels=_labels(source, labels_url, len(keys)),
        content=[np.array([checksum for _, checksum in records], np.uint32).data],
    )
    return chunked(found, reader)


def _finest(source: str, urls: Sequence[str]) -> tuple[list[str], str | None]:
    """The files of the highest resolution, and the labels file beside them if it exists."""
    matches = {url: match for url in urls if (match := _FILE.match(url))}
    sets = sorted({match["set"] for match in matches.values()})
    if len(sets) > 1:
        raise ValueError(f"source {source} holds TFRecords of several sets; name one of {', '.join(sets)}")
    finest = max(match["level"] for match in matches.values())
    labels = f"{sets[0]}-rxx.labels"
    files = sorted(url for url, match in matches.items() if match["level"] == finest)
    return files, labels if storage.exists(labels) else None


def _records(source: str, url: str, number: int) -> Iterator[tuple[Span, int]]:
    """The span of data and checksum of each record, and the checksum. Only a record's header locates the next one."""
    start, count = 0, 0
    with opened(url) as file:
        end = file.seek(0, io.SEEK_END)
        while start < end:
            file.seek(start)
            header = file.read(_HEADER.size)
            length, checksum = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, -1)
            stop = start + _HEADER.size + length + _CHECKSUM.size
            if checksum != _masked_crc(header[:8]) or stop > end:
                raise ValueError(
                    f"{place(source, url)} is damaged or cut short at record {count:,} (byte {start:,}), so the "
                    "records after it cannot be found; get the file again"
                )
            file.seek(stop - _CHECKSUM.size)
            yield Span(number, start + _HEADER.size, stop), _CHECKSUM.unpack(file.read(_CHECKSUM.size))[0]
            start, count = stop, count + 1


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _image(record: bytes) -> Pixels:
    """Decode a record's data, followed by its checksum, to uint8 [H, W, C]; raises ImageRejectedError."""
    data = record[: -_CHECKSUM.size]
    if _masked_crc(data) != _CHECKSUM.unpack(record[-_CHECKSUM.size :])[0]:
        raise ImageRejectedError("damaged in the TFRecord: its checksum is wrong")
    try:
        entries = {entry.key: entry.value for entry in _Example.FromString(data).features.feature}
        shape, pixels = tuple(entries["shape"].integers.value), entries["data"].bytes.value[0]
    except (DecodeError, KeyError, IndexError) as error:
        raise ImageRejectedError(f"its record holds no image with shape and data: {error!r}") from error
    if len(shape) != 3 or shape[0] not in (1, 3, 4) or len(pixels) != np.prod(shape):
        raise ImageRejectedError(
            f"its record has shape {list(shape)}, which must be [1|3|4, H, W], and {len(pixels)} bytes"
        )
    return np.ascontiguousarray(np.frombuffer(pixels, np.uint8).reshape(shape).transpose(1, 2, 0))


def _channels(reader: SpanReader, keys: pa.Array) -> int:
    try:
        return 1 if len(keys) and reader.fetch(keys[0].as_py()).shape[2] == 1 else 3
    except ImageRejectedError:
        return 3


def _labels(source: str, url: str | None, rows: int) -> NDArray[np.int64] | None:
    if url is None:
        return None
    try:
        labels = np.load(io.BytesIO(storage.read_bytes(url)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"source {source}: {url} is not a plain array of labels: {error}") from error
    one_hot = labels.ndim == 2 and bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) <= 1).all())
    if len(labels) != rows or not (one_hot or (labels.ndim == 1 and labels.dtype.kind in "iu")):
        raise ValueError(
            f"source {source}: {url} is {labels.dtype} {list(labels.shape)}; it must be integers [{rows}] or one-hot "
            f"[{rows}, classes]; remove it to use no labels"
        )
    return np.where(labels.any(1), labels.argmax(1), -1) if one_hot else labels.astype(np.int64)
