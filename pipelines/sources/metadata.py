"""Labels and attributes from metadata files beside the images.

`dataset.json` has the form of StyleGAN2-ADA, {"labels": [["a.png", 3], ...]}. `metadata.csv`, `.jsonl` and `.parquet`
have the form of Hugging Face's ImageFolder: a column `file_name`, relative to the metadata file, and any others.
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipelines.sources.columns import from_rows

FILE_NAME = "file_name"
LABEL = "label"


def is_metadata(path: str) -> bool:
    """Whether `path` has the name of a metadata file."""
    return path.rpartition("/")[2] in _PARSERS


def read_metadata(path: str, data: bytes, source: str) -> pa.Table:
    """Parse the content `data` of the metadata file `path`; `file_name` becomes relative to the source.

    `source` is the source's name, for errors. Raises ValueError if the file cannot be parsed or has no `file_name`.
    """
    place = PurePosixPath(path)
    where = f"source {source}: {path}"
    try:
        table = _PARSERS[place.name](data, where)
    except (pa.ArrowException, json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{where} cannot be read: {error}; repair or remove it") from error
    if FILE_NAME not in table.column_names:
        raise ValueError(
            f"{where} has no column {FILE_NAME!r} (its columns: {', '.join(table.column_names) or 'none'})"
        )
    names = [str(place.parent / str(name).replace("\\", "/")) for name in table[FILE_NAME].to_pylist()]
    return table.set_column(table.column_names.index(FILE_NAME), FILE_NAME, pa.array(names, pa.string()))


def beside(names: Sequence[str], tables: Iterable[tuple[str, pa.Table]], source: str) -> dict[str, pa.ChunkedArray]:
    """Join metadata tables to the images `names`: each column has one row per name, null if no table names the image.

    `tables` are pairs of a kind of file and a table. Rows of tables of the same kind are concatenated; columns of
    different kinds are placed side by side. Raises ValueError if a kind names an image twice or names no image at all.
    """
    kinds: dict[str, list[pa.Table]] = {}
    for kind, table in tables:
        kinds.setdefault(kind, []).append(table)
    columns: dict[str, pa.ChunkedArray] = {}
    for kind, parts in kinds.items():
        columns |= _aligned(names, _continued(parts, f"source {source}: {kind}"), f"source {source}: {kind}")
    return columns


def _continued(tables: list[pa.Table], where: str) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"{where}: its columns differ in type between folders: {error}") from error


def _aligned(names: Sequence[str], table: pa.Table, where: str) -> dict[str, pa.ChunkedArray]:
    named = table[FILE_NAME].combine_chunks()
    if len(pc.unique(named)) < len(named):
        twice = next(row["values"] for row in pc.value_counts(named).to_pylist() if row["counts"] > 1)
        raise ValueError(f"{where} names {twice!r} twice; give each image one line")
    rows = pc.index_in(pa.array(names, pa.string()), named)
    if len(names) and len(named) and rows.null_count == len(rows):
        raise ValueError(
            f"{where} names none of the {len(names):,} images; names must be relative to the metadata file's folder"
        )
    others = [name for name in table.column_names if name != FILE_NAME]
    return {name: table[name].take(rows) for name in others}


def _parse_csv(data: bytes, where: str) -> pa.Table:
    as_text = pyarrow.csv.ConvertOptions(column_types={FILE_NAME: pa.string()})
    return pyarrow.csv.read_csv(io.BytesIO(data), convert_options=as_text)


def _parse_jsonl(data: bytes, where: str) -> pa.Table:
    rows = [json.loads(line) for line in data.decode().splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{where} must hold one JSON object a line")
    return from_rows(rows, where)


def _parse_parquet(data: bytes, where: str) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


def _parse_dataset_json(data: bytes, where: str) -> pa.Table:
    try:
        pairs = json.loads(data)["labels"] or []
        names, labels = [str(name) for name, _ in pairs], [label for _, label in pairs]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f'{where} must hold {{"labels": [["a.png", 3], ...]}}; {error!r}') from error
    if not all(isinstance(label, int) for label in labels):
        raise ValueError(f"{where}: every label must be an integer; put other values as columns into metadata.csv")
    columns = {FILE_NAME: pa.array(names, pa.string()), LABEL: pa.array(labels, pa.int64())}
    return pa.table(columns if pairs else {FILE_NAME: columns[FILE_NAME]})


_PARSERS: dict[str, Callable[[bytes, str], pa.Table]] = {
    "dataset.json": _parse_dataset_json,
    "metadata.csv": _parse_csv,
    "metadata.jsonl": _parse_jsonl,
    "metadata.parquet": _parse_parquet,
}
