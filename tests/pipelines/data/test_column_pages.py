"""Our own parser of column chunks: it gives the values that pyarrow gives and detects every damage."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.format import pages

FIXED, BINARY = pa.binary(48), pa.binary()
KINDS = pytest.mark.parametrize("kind", [FIXED, BINARY], ids=["fixed", "binary"])
SETTINGS: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "write_page_checksum": True,
}


def made(kind: pa.DataType, rows: int = 10) -> list[bytes]:
    noise = np.random.default_rng(0)
    sizes = noise.integers(0, 90, rows) if kind == BINARY else [48] * rows
    return [noise.bytes(size) for size in sizes]


def chunk_of(folder: Path, values: list[bytes], kind: pa.DataType, **settings: Any) -> bytes:
    """The bytes of the column chunk that pyarrow writes for `values`."""
    schema = pa.schema([pa.field("x", kind, nullable=False)])
    path = folder / "one.parquet"
    pq.write_table(pa.table([pa.array(values, kind)], schema), path, **(SETTINGS | settings))
    place = pq.read_metadata(path).row_group(0).column(0)
    return path.read_bytes()[place.data_page_offset :][: place.total_compressed_size]


def read(chunk: bytes, kind: pa.DataType) -> list[bytes]:
    found = pages.fixed_values(chunk, 48) if kind == FIXED else pages.binary_values(chunk)
    return [bytes(value) for value in found]


@KINDS
@pytest.mark.parametrize("several", [{}, {"data_page_size": 200, "write_batch_size": 3}], ids=["page", "pages"])
@pytest.mark.parametrize("rows", [1, 10, 1000])
def test_all_values_are_found_in_one_page_or_many(tmp_path: Path, kind: pa.DataType, rows: int, several: Any) -> None:
    values = made(kind, rows)
    chunk = chunk_of(tmp_path, values, kind, **several)
    assert len(list(pages._pages(memoryview(chunk)))) > 1 or rows == 1 or not several
    assert read(chunk, kind) == values


def test_a_page_with_statistics_in_its_header_is_read_too(tmp_path: Path) -> None:
    values = made(BINARY)
    assert read(chunk_of(tmp_path, values, BINARY, write_statistics=True), BINARY) == values


@KINDS
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, kind: pa.DataType) -> None:
    values = made(kind)
    chunk = chunk_of(tmp_path, values, kind)
    body = next(data for _, data in pages._pages(memoryview(chunk)))
    unfound = []
    for place in range(len(chunk)):
        for bit in range(8):
            broken = bytearray(chunk)
            broken[place] ^= 1 << bit
            try:
                assert read(bytes(broken), kind) == values
                unfound.append(place)
            except pages.DamagedPageError:
                pass
    # Only in the header, some of whose fields the parser does not use.
    assert all(place < len(chunk) - len(body) for place in unfound)


@KINDS
def test_a_chunk_cut_anywhere_is_found(tmp_path: Path, kind: pa.DataType) -> None:
    chunk = chunk_of(tmp_path, made(kind), kind)
    for size in range(1, len(chunk)):
        with pytest.raises(pages.DamagedPageError):
            read(chunk[:size], kind)


@KINDS
def test_a_page_without_a_checksum_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    chunk = chunk_of(tmp_path, made(kind), kind, write_page_checksum=False)
    with pytest.raises(pages.DamagedPageError, match="a page has no readable header with a checksum"):
        read(chunk, kind)


@KINDS
@pytest.mark.parametrize(
    ("settings", "nullable"),
    [({}, False), ({"compression": "zstd"}, False), ({"use_dictionary": True}, False), ({}, True)],
)
def test_the_footer_says_which_chunks_can_be_read_so(
    tmp_path: Path, kind: pa.DataType, settings: dict[str, Any], nullable: bool
) -> None:
    schema = pa.schema([pa.field("x", kind, nullable=nullable)])
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table([pa.array(made(kind), kind)], schema), path, **(SETTINGS | settings))
    metadata = pq.read_metadata(path)
    plain = pages.is_plain(metadata.row_group(0).column(0), metadata.schema.column(0))
    assert plain == (not settings and not nullable)
