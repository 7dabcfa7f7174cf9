"""Parses a Parquet column chunk without pyarrow, which takes about five times as long (benchmarks/reading.py).

It reads only the form that packing writes: data pages of version 1, uncompressed, PLAIN, without nulls, each with a
CRC-32. Nothing is copied. The format is that of parquet.thrift in Thrift's compact protocol.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from imagecodecs import deflate_crc32
from numpy.typing import NDArray

_DATA_PAGE, _PLAIN = 0, 0
_TYPE, _SIZE, _CRC, _DATA_HEADER = 1, 3, 4, 5  # fields of PageHeader
_VALUES, _ENCODING = 1, 2  # fields of DataPageHeader
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 8, 12  # field types of Thrift


class DamagedPageError(ValueError):
    """A column chunk that differs from the form that packing writes; the message is the reason."""


def is_plain(chunk: pq.ColumnChunkMetaData, column: pq.ColumnSchema) -> bool:
    """Whether, according to the footer, a column chunk has the form that this module reads."""
    return chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page and not column.max_definition_level


def fixed_values(chunk: bytes, size: int) -> NDArray[np.uint8]:
    """The values of a chunk of fixed-size binary, uint8 [values, size]; raises DamagedPageError."""
    pages = []
    for values, data in _pages(memoryview(chunk)):
        if len(data) != values * size:
            raise DamagedPageError(f"a page of {values} values of {size} bytes has {len(data)} bytes")
        pages.append(np.frombuffer(data, np.uint8).reshape(values, size))
    return pages[0] if len(pages) == 1 else np.concatenate([np.empty((0, size), np.uint8), *pages])


def binary_values(chunk: bytes) -> list[memoryview]:
    """The values of a chunk of variable-size binary, as views of `chunk`; raises DamagedPageError."""
    found: list[memoryview] = []
    for values, data in _pages(memoryview(chunk)):
        start = 0
        for _ in range(values):
            stop = start + 4 + int.from_bytes(data[start : start + 4], "little")
            if stop > len(data):
                break
            found.append(data[start + 4 : stop])
            start = stop
        if start != len(data):
            raise DamagedPageError(f"a page has {len(data)} bytes, which do not hold its {values} values")
    return found


def _pages(chunk: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number of values and the bytes of each page after checking its checksum."""
    at = 0
    while at < len(chunk):
        try:
            header, at = _struct(chunk, at)
            size, crc, details = header[_SIZE], header[_CRC], header[_DATA_HEADER]
            plain = (header[_TYPE], details[_ENCODING]) == (_DATA_PAGE, _PLAIN)
            values = details[_VALUES]
        except (IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise DamagedPageError("a page has no readable header with a checksum") from error
        data = chunk[at : at + size]
        if not plain or len(data) != size:
            raise DamagedPageError("a page is cut short or differs from the form that packing writes")
        if deflate_crc32(data) != crc % 2**32:  # type: ignore[arg-type]
            raise DamagedPageError("CRC checksum verification failed for a page")
        yield values, data
        at += size


def _struct(data: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """The fields of a Thrift struct by number, and the offset of its end."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        kind, at = head & 15, at + 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: memoryview, at: int, kind: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind == _BYTE:
        return data[at], at + 1
    if kind in (_I16, _I32, _I64):
        return _integer(data, at)
    if kind == _STRUCT:
        return _struct(data, at)
    if kind == _BINARY:
        size, at = _varint(data, at)
        return bytes(data[at : at + size]), at + size
    raise ValueError(f"a field of kind {kind}")


def _integer(data: memoryview, at: int) -> tuple[int, int]:
    zigzag, at = _varint(data, at)
    return (zigzag >> 1) ^ -(zigzag & 1), at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        result, shift, at = result | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return result, at
