"""Labels and attributes from the columns of a table: metadata beside images, a Parquet file, or arrays."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Column: TypeAlias = "pa.Array | pa.ChunkedArray"
Labels = tuple[NDArray[np.int64], tuple[str, ...]]
NO_ATTRIBUTES = pa.table({})
ROWS_AT_ONCE = 4096

_is = pa.types
_KINDS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (_is.is_boolean, pa.bool_()),
    (_is.is_integer, pa.int64()),
    (_is.is_floating, pa.float64()),
    (_is.is_decimal, pa.float64()),
    (_is.is_string, pa.string()),
    (_is.is_large_string, pa.string()),
    (_is.is_temporal, pa.string()),
)


def scalars(table: pa.Table, where: str) -> pa.Table:
    """Keep the columns of `table` that hold booleans, numbers, strings or times, as bool, int64, float64 or string.

    Other columns are left out. Raises ValueError, beginning with `where`, if a value does not fit its type.
    """
    columns = {name: _scalar(table[name], name, where) for name in table.column_names}
    kept = {name: column for name, column in columns.items() if column is not None}
    return pa.table(kept)


def is_scalar(kind: pa.DataType) -> bool:
    """Whether `scalars` keeps columns of this type."""
    return _kind(kind.value_type if _is.is_dictionary(kind) else kind) is not None


def as_labels(column: Column, where: str) -> Labels:
    """Labels int64 [N], -1 for none, and the names of the classes, empty for integer labels.

    Integers from 0 are kept; strings are numbered in sorted order; null and -1 mean no label. Raises ValueError,
    beginning with `where`, for any other values.
    """
    column = _decoded(column)
    if _is.is_string(column.type) or _is.is_large_string(column.type):
        names = pc.unique(column).drop_null().sort()
        return _numbers(pc.index_in(column, names)), tuple(names.to_pylist())
    try:
        labels = _numbers(column.cast(pa.int64()))
    except pa.ArrowException:
        labels = None
    if labels is None or labels.min(initial=0) < -1:
        raise ValueError(f"{where}: labels of type {column.type} must be integers from 0, -1 for none, or names")
    return labels, ()


def from_rows(rows: Iterable[Mapping[str, Any]], where: str) -> pa.Table:
    """Build a table with one row per mapping; a key that a mapping lacks is null.

    Raises ValueError, beginning with `where`, if a column holds values of several types.
    """
    rows = iter(rows)
    tables = []
    while block := list(islice(rows, ROWS_AT_ONCE)):
        names = dict.fromkeys(name for row in block for name in row)
        tables.append(pa.table({name: _column(block, name, where) for name in names}))
    try:
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    except pa.ArrowException as error:
        raise ValueError(f"{where}: a column holds values of several kinds ({error}); use one kind a column") from error


def _column(rows: list[Mapping[str, Any]], name: str, where: str) -> pa.Array:
    try:
        return pa.array([row.get(name) for row in rows])
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(
            f"{where}: column {name!r} holds values of several kinds ({error}); use one kind a column"
        ) from error


def _scalar(column: Column, name: str, where: str) -> "Column | None":
    column = _decoded(column)
    target = _kind(column.type)
    try:
        return None if target is None else column.cast(target)
    except pa.ArrowException as error:
        raise ValueError(f"{where}: column {name!r} does not fit {target}: {error}; drop it or change it") from error


def _kind(found: pa.DataType) -> pa.DataType | None:
    return next((target for fits, target in _KINDS if fits(found)), None)


def _decoded(column: Column) -> Column:
    return column.cast(column.type.value_type) if _is.is_dictionary(column.type) else column


def _numbers(column: Column) -> NDArray[np.int64]:
    return column.cast(pa.int64()).fill_null(-1).to_numpy()
