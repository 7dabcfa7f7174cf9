"""Nearest neighbours of feature vectors, by exact Euclidean distances in float64 in chunks of rows."""

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK_NUMBERS = 2**24
"""Distances in memory at once: 128 MiB."""
ROUNDING = 1e-12
"""Squared distances below this share of the squared norms are rounding errors and count as zero."""


def distances_by_rows(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances from rows of `a` [n, D] to all rows of `b` [m, D]: (rows, float64 [rows, m]), on their device.

    Both are shifted by the same vector first, so a common offset costs no digits; equal rows have distance 0. Raises
    ValueError if widths differ, a side is empty or a value is not finite.
    """
    a, b = checked(a, b)
    centre = b.mean(0)
    a, b = a - centre, b - centre
    norms = b.square().sum(1)
    for part in torch.arange(len(a)).split(max(CHUNK_NUMBERS // len(b), 1)):
        rows = slice(int(part[0]), int(part[-1]) + 1)
        scale = a[rows].square().sum(1, keepdim=True) + norms
        squared = torch.addmm(scale, a[rows], b.T, alpha=-2)
        yield rows, torch.where(squared < ROUNDING * scale, 0.0, squared)


def nearest(points: Tensor, among: Tensor) -> Tensor:
    """Index in `among` [m, D] of the nearest neighbour of each of `points` [n, D], int64 [n]; the lowest index of ties.

    Exact, because neighbours within rounding of the nearest are compared by their differences. Raises as above.
    """
    points, among = checked(points, among)
    found = []
    for rows, squared in distances_by_rows(points, among):
        slack = 2 * ROUNDING * (squared.max(1, keepdim=True).values + squared.min(1, keepdim=True).values)
        row, candidate = torch.nonzero(squared <= squared.min(1, keepdim=True).values + slack, as_tuple=True)
        exact = (points[rows][row] - among[candidate]).square().sum(1)
        # Candidates come row by row, each row's in ascending order; stable sorts keep that order among equals.
        order = exact.argsort(stable=True)
        order = order[row[order].argsort(stable=True)]
        first = torch.searchsorted(row[order].contiguous(), torch.arange(len(squared), device=row.device))
        found.append(candidate[order][first])
    return torch.cat(found)


def checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Convert two sets of features to float64 [n, D] and [m, D].

    Raises ValueError if shapes do not fit, a set is empty or a value is not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features of shapes {list(a.shape)} and {list(b.shape)} cannot be compared; take [n, D] and [m, D] with one "
            "extractor"
        )
    for features in (a, b):
        if not len(features):
            raise ValueError("a set of features is empty; give at least one image")
        if not torch.isfinite(features).all():
            bad = int((~torch.isfinite(features)).any(1).sum())
            raise ValueError(f"features of {bad} of {len(features)} images are not finite")
    return a.detach().double(), b.detach().double()
