"""Pages that show images in a grid: samples, reconstructions beside their originals, style mixing, edits."""

import io
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alae_core.images import box_halve

Pixels = NDArray[np.uint8]
Cells = list[list[Pixels | None]]
"""Rows of tiles uint8 [R, R, C] of one size; None leaves a cell empty."""

PAGE_PX = 1024
"""Small images are magnified by the largest integer factor that keeps a row within this width."""
WIDEST_PAGE_PX = 2048
"""Large images are halved until a row fits this width."""
THIN_PX, WIDE_PX = 2, 10
"""Width in pixels of the separators between images and between groups of images."""
PAPER = 255


def sample_page(images: Pixels, columns: int = 8) -> Pixels:
    """Place uint8 images [N, R, R, C] row by row -> page uint8 [H, W, C]; cells after the last image stay empty.

    Raises ValueError for other dtypes or shapes, no image, or `columns` below 1.
    """
    tiles = _tiles("images", images)
    if columns < 1:
        raise ValueError(f"columns={columns} must be at least 1")
    columns = min(columns, len(tiles))
    cells: Cells = [_padded(tiles[start : start + columns], columns) for start in range(0, len(tiles), columns)]
    return _page(cells, wide_every_columns=0, wide_after_first=False)


def reconstruction_page(originals: Pixels, reconstructions: Pixels, columns: int = 8) -> Pixels:
    """Place pairs original | reconstruction, `columns` // 2 pairs to a row.

    Both are uint8 [N, R, R, C]; returns the page uint8 [H, W, C]. Raises ValueError if the shapes differ or have
    another form.
    """
    left, right = _tiles("originals", originals), _tiles("reconstructions", reconstructions)
    if originals.shape != reconstructions.shape:
        raise ValueError(
            f"originals {originals.shape} and reconstructions {reconstructions.shape} differ in shape; give one for each"
        )
    pairs = [tile for pair in zip(left, right, strict=True) for tile in pair]
    columns = min(max(columns // 2, 1) * 2, len(pairs))
    cells: Cells = [_padded(pairs[start : start + columns], columns) for start in range(0, len(pairs), columns)]
    return _page(cells, wide_every_columns=2, wide_after_first=False)


def mixing_page(sources: Pixels, destinations: Pixels, mixed: Pixels, groups: Sequence[int] = ()) -> Pixels:
    """Place sources in the first column, destinations in the first row, and mixed images where they cross.

    Source i and destination j cross at `mixed[i * len(destinations) + j]`. All are uint8 [N, R, R, C] of one R and C;
    returns the page uint8 [H, W, C]. `groups` are the sizes of groups of sources that wide separators set apart. Raises
    ValueError if the shapes do not fit.
    """
    left, top, inner = (
        _tiles("sources", sources),
        _tiles("destinations", destinations),
        _tiles("mixed", mixed),
    )
    if len(inner) != len(left) * len(top) or len({sources.shape[1:], destinations.shape[1:], mixed.shape[1:]}) > 1:
        raise ValueError(
            f"mixed {mixed.shape} must hold one image for each of {len(left)} sources {sources.shape} "
            f"and {len(top)} destinations {destinations.shape}, of their size"
        )
    rows: Cells = [[source, *inner[i * len(top) : (i + 1) * len(top)]] for i, source in enumerate(left)]
    ends = {1 + sum(groups[:count]) for count in range(len(groups))}
    return _page([[None, *top], *rows], wide_every_columns=0, wide_after_first=True, wide_before_rows=ends)


def edited_page(images: Pixels, moved: Pixels, originals: Pixels | None = None) -> Pixels:
    """Place one row per image: its original if `originals` is given, the image, and its k edits in `moved`.

    `images` and `originals` are uint8 [N, R, R, C]; `moved` is uint8 [N * k, R, R, C], the k edits of the first image
    first; returns the page uint8 [H, W, C]. A wide separator precedes the edits. Raises ValueError if the shapes do
    not fit.
    """
    middle, right = _tiles("images", images), _tiles("moved", moved)
    left = [] if originals is None else _tiles("originals", originals)
    shapes = {images.shape[1:], moved.shape[1:]} | ({originals.shape[1:]} if originals is not None else set())
    if len(right) % len(middle) or (left and len(left) != len(middle)) or len(shapes) > 1:
        raise ValueError(
            f"moved {moved.shape} must hold the same number of images for each of {images.shape}, and there must be one "
            "original for each, of their size"
        )
    each = len(right) // len(middle)
    rows: Cells = [[*left[i : i + 1], image, *right[i * each : (i + 1) * each]] for i, image in enumerate(middle)]
    wide = {2 if left else 1}
    return _page(rows, wide_every_columns=0, wide_after_first=False, wide_before_columns=wide)


def png_bytes(page: Pixels) -> bytes:
    """Encode a page uint8 [H, W, 1 or 3] as PNG; raises ValueError for other dtypes or shapes."""
    if page.dtype != np.uint8 or page.ndim != 3 or page.shape[2] not in (1, 3):
        raise ValueError(f"page is {page.dtype} {page.shape}, expected uint8 [H, W, 1 or 3]")
    stream = io.BytesIO()
    Image.fromarray(page[:, :, 0] if page.shape[2] == 1 else page).save(stream, format="PNG")
    return stream.getvalue()


def _tiles(name: str, images: Pixels) -> list[Pixels]:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or not len(images):
        raise ValueError(f"{name} are {images.dtype} {images.shape}, expected uint8 [N, R, R, C] with N at least 1")
    return list(images)


def _padded(row: list[Pixels], columns: int) -> list[Pixels | None]:
    return [*row, *[None] * (columns - len(row))]


def _page(
    cells: Cells,
    *,
    wide_every_columns: int,
    wide_after_first: bool,
    wide_before_rows: AbstractSet[int] = frozenset(),
    wide_before_columns: AbstractSet[int] = frozenset(),
) -> Pixels:
    rows, columns = len(cells), len(cells[0])
    tiles = {(i, j): tile for i, row in enumerate(cells) for j, tile in enumerate(row) if tile is not None}
    tiles = {place: _fitted(tile, columns) for place, tile in tiles.items()}
    size, _, channels = next(iter(tiles.values())).shape
    first = {1} if wide_after_first else set()
    tops = _offsets(rows, size, first | wide_before_rows)
    groups = set(range(0, columns, wide_every_columns or columns))
    lefts = _offsets(columns, size, first | groups | wide_before_columns)
    page = np.full((tops[-1] + size, lefts[-1] + size, channels), PAPER, np.uint8)
    for (i, j), tile in tiles.items():
        page[tops[i] : tops[i] + size, lefts[j] : lefts[j] + size] = tile
    return page


def _offsets(count: int, size: int, wide_before: AbstractSet[int]) -> list[int]:
    offsets = [0]
    for index in range(1, count):
        offsets.append(offsets[-1] + size + (WIDE_PX if index in wide_before else THIN_PX))
    return offsets


def _fitted(tile: Pixels, columns: int) -> Pixels:
    while tile.shape[0] * columns > WIDEST_PAGE_PX and tile.shape[0] % 2 == 0:
        tile = box_halve(tile[None])[0]
    # An integer factor without interpolation shows the network's own pixels.
    scale = max(PAGE_PX // (tile.shape[0] * columns), 1)
    return tile.repeat(scale, axis=0).repeat(scale, axis=1)
