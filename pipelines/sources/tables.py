"""Images in a column of Parquet files, the form of Hugging Face's datasets; a row group is a chunk."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines import storage
from pipelines.sources.addresses import place
from pipelines.sources.chunks import Kept
from pipelines.sources.columns import as_labels, is_scalar, scalars
from pipelines.sources.decoding import ImageRejectedError
from pipelines.sources.listing import MAX_FILE_BYTES
from pipelines.sources.source import Source, make_source

_KEY = pa.struct({"chunk": pa.int64(), "row": pa.int64()})
_IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
_LABEL = "label"
_THREADS = 8


class _Group(NamedTuple):
    file: int
    group: int
    rows: int


@dataclass(frozen=True)
class TableReader:
    """Reads cells of one binary column; `column` is its path in the schema.

    A key holds the number of the row group and the row in it.
    """

    urls: tuple[str, ...]
    column: str
    groups: tuple[_Group, ...]
    _kept: Kept[pa.ChunkedArray] = field(default_factory=Kept, compare=False, repr=False)

    def fetch(self, key: dict[str, int]) -> bytes:
        """The bytes of one image.

        Raises ImageRejectedError if the cell is null, longer than MAX_FILE_BYTES or, on this machine, unreadable.
        """
        cell = self._kept.get(key["chunk"], lambda: self._load(self.groups[key["chunk"]]))[key["row"]]
        if not cell.is_valid:
            raise ImageRejectedError("the table holds no bytes for it")
        if len(cell.as_buffer()) > MAX_FILE_BYTES:
            raise ImageRejectedError(f"it has {len(cell.as_buffer()):,} bytes, more than {MAX_FILE_BYTES:,}")
        return cell.as_py()

    def _load(self, group: _Group) -> pa.ChunkedArray:
        url = self.urls[group.file]
        try:
            with _opened(url) as file:
                table = file.read_row_group(group.group, columns=[self.column], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, storage.StorageError) or not storage.is_local(url):
                raise
            raise ImageRejectedError(f"row group {group.group} of {url} cannot be read: {error}") from error
        while pa.types.is_struct(table.schema[0].type):
            table = table.flatten()
        return table.column(0)


class _Columns(NamedTuple):
    image: str  # the path of the binary column
    file_name: str | None  # the path of the column with the image's original file name, in the same struct
    label: str | None
    label_names: tuple[str, ...]
    attributes: list[str]


class _File(NamedTuple):
    groups: list[tuple[int, int]]  # number of rows of each row group, and stored bytes of their images
    table: pa.Table  # all chosen columns except the images


def open_tables(source: str, urls: Sequence[str], channels: int, named: Mapping[str, str]) -> Source:
    """Open all images in Parquet files of one schema; `named` may name the columns to use as `image` and `label`.

    Raises ValueError if a file cannot be read, the columns differ between files, or no image column can be chosen.
    """
    columns = _choose(source, _read_schema(source, urls[0]), named)
    with ThreadPoolExecutor(_THREADS) as threads:
        files = list(threads.map(lambda url: _read_file(source, url, columns), urls))
    table = _joined(source, [file.table for file in files])
    stored = [(number, at, *group) for number, file in enumerate(files) for at, group in enumerate(file.groups)]
    groups = tuple(_Group(file, at, rows) for file, at, rows, _ in stored if rows)
    keys = _keys(groups)
    labels, label_names = _labels(source, table, columns)
    return make_source(
        source,
        "Parquet table",
        channels,
        TableReader(tuple(urls), columns.image, groups),
        ids=_file_names(table, columns),
        keys=keys,
        labels=labels,
        label_names=label_names,
        attributes=scalars(table.select(columns.attributes), f"source {source}"),
        content=[json.dumps(stored).encode()],
        chunks=keys.field("chunk").to_numpy(),
    )


@contextmanager
def _opened(url: str) -> Iterator[pq.ParquetFile]:
    fs, path = storage.pyarrow_filesystem(url)
    with storage.explained(url), pq.ParquetFile(path, filesystem=fs, page_checksum_verification=True) as file:
        yield file


@contextmanager
def _readable(source: str, url: str) -> Iterator[pq.ParquetFile]:
    try:
        with _opened(url) as file:
            yield file
    except storage.StorageNotFoundError as error:
        raise storage.StorageNotFoundError(f"source {error}") from error
    except storage.StorageError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{place(source, url)} is not a readable Parquet file: {error}") from error


def _read_schema(source: str, url: str) -> pa.Schema:
    with _readable(source, url) as file:
        return file.schema_arrow


def _read_file(source: str, url: str, columns: _Columns) -> _File:
    wanted = [name for name in (columns.file_name, columns.label) if name] + columns.attributes
    with _readable(source, url) as file:
        if missing := {column.split(".")[0] for column in (columns.image, *wanted)} - set(file.schema_arrow.names):
            raise ValueError(f"source {source}: {url} has no column {min(missing)!r}, which {source} begins with")
        table = file.read(columns=wanted, use_threads=False)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    # Only the file name is read from an image's struct; flattening makes it a column of its own.
    table = table.flatten() if columns.file_name else table
    return _File([(group.num_rows, _stored_bytes(group, columns.image)) for group in groups], table)


def _stored_bytes(group: pq.RowGroupMetaData, column: str) -> int:
    parts = (group.column(number) for number in range(group.num_columns))
    return sum(part.total_compressed_size for part in parts if part.path_in_schema == column)


def _choose(source: str, schema: pa.Schema, named: Mapping[str, str]) -> _Columns:
    leaves = {field.name: leaf for field in schema if (leaf := _binary_leaf(field))}
    image = named.get("image") or next((name for name in _IMAGE_NAMES if name in leaves), None)
    if image is None and len(leaves) == 1:
        image = next(iter(leaves))
    if image not in leaves:
        raise ValueError(_which_column(source, schema, image, list(leaves)))
    label = named.get("label") or (_LABEL if _LABEL in schema.names else None)
    if label is not None and label not in schema.names:
        raise ValueError(f"source {source} has no column {label!r} (its columns: {', '.join(schema.names)})")
    struct = schema.field(image).type
    has_name = pa.types.is_struct(struct) and struct.get_field_index("path") >= 0
    others = [field.name for field in schema if field.name not in (image, label) and is_scalar(field.type)]
    return _Columns(leaves[image], f"{image}.path" if has_name else None, label, _class_names(schema, label), others)


def _which_column(source: str, schema: pa.Schema, image: str | None, candidates: list[str]) -> str:
    if not candidates:
        return f"source {source} has no column of image files as bytes (its columns: {', '.join(schema.names)})"
    fault = f"has no column {image!r} of bytes" if image else "has several columns of bytes"
    return f"source {source} {fault}; name one of {', '.join(candidates)}: {source.split('#')[0]}#image={candidates[0]}"


def _binary_leaf(field: pa.Field) -> str | None:
    kind = field.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{field.name}.bytes" if _is_binary(kind.field("bytes").type) else None
    return field.name if _is_binary(kind) else None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: pa.Schema, label: str | None) -> tuple[str, ...]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features[label].get("names") or ()))
    except (KeyError, TypeError, AttributeError, ValueError):
        return ()


def _joined(source: str, tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"source {source}: its files differ in their columns: {error}") from error


def _keys(groups: Sequence[_Group]) -> pa.StructArray:
    chunks = [np.full(group.rows, number) for number, group in enumerate(groups)]
    rows = [np.arange(group.rows) for group in groups]
    none = np.zeros(0, np.int64)
    columns = [pa.array(np.concatenate([none, *parts])) for parts in (chunks, rows)]
    return pa.StructArray.from_arrays(columns, fields=list(_KEY))


def _labels(source: str, table: pa.Table, columns: _Columns) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if columns.label is None:
        return None, ()
    labels, names = as_labels(table[columns.label], f"source {source}: column {columns.label!r}")
    fits = labels.max(initial=-1) < len(columns.label_names)
    return labels, names or (columns.label_names if fits else ())


def _file_names(table: pa.Table, columns: _Columns) -> list[str] | None:
    """The original file names of the images, or None if they are missing or not unique."""
    names = table[columns.file_name] if columns.file_name else None
    if names is None or names.null_count or pc.count_distinct(names).as_py() < len(names):
        return None
    return names.to_pylist()
