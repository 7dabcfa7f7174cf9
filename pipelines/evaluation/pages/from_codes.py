"""Pages drawn from codes: style mixing, interpolation between real images, truncation, and editing along directions.

All images of a page except the samples share one draw of noise, so that they differ only by their codes.
"""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithm import Sampling, SamplingError
from alae_core.latents import broadcast_styles
from pipelines.evaluation.features.extractor import most_at_once
from pipelines.evaluation.subject import Subject, offered
from pipelines.pictures import grids
from pipelines.sources.decoding import Pixels

PSIS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.0)
"""Truncation psi of each row of the page."""
STEPS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
"""Steps along a direction on a page of editing, in units of the direction."""
SIDE = 7
"""Images along one side of the interpolation page."""
MIXED = 6
"""Number of sources and destinations of the mixing page."""
SHARED = Sampling(noise="shared")


def drawn_from_codes(subject: Subject, real: Tensor, columns: int) -> dict[str, Pixels]:
    """Return the pages that the subject supports, from real images [n, C, R, R], by figure name."""
    pages = {}
    # Truncation needs a mean code; without one there is no such page.
    with suppress(SamplingError):
        pages["truncation"] = truncated(subject, columns)
    can = offered(subject.algorithm)
    if not (can["codes"] and can["encodes"]):
        return pages
    if len(real) >= 4:
        pages["interpolation"] = interpolated(subject, real[:4])
    sources, destinations = real[:MIXED], real[MIXED : 2 * MIXED]
    if style_groups(subject.styles) and len(sources) == MIXED and len(destinations):
        pages["mixing_by_depth"] = mixed_by_depth(subject, sources, destinations)
    return pages


def style_groups(layers: int) -> tuple[tuple[int, int], ...]:
    """First and stop layer of the coarse, middle and fine styles: StyleGAN's (section 3.1) from 64 px on, otherwise thirds.

    In StyleGAN 4x4 and 8x8 are coarse, 16x16 and 32x32 middle. Empty below three layers.
    """
    if layers < 3:
        return ()
    first, second = (4, 8) if layers > 8 else (-(-layers // 3), -(-2 * layers // 3))
    return (0, first), (first, second), (second, layers)


def mixed_by_depth(subject: Subject, sources: Tensor, destinations: Tensor) -> Pixels:
    """Page of destinations [m, C, R, R] (top) with the coarse, middle or fine styles of a real source (left).

    The first third of `sources` [n, C, R, R] gives coarse styles, the second middle ones, the third fine ones. Raises
    ValueError if their number is no multiple of three, or if images have fewer than three styles.
    """
    groups = style_groups(subject.styles)
    if not groups or len(sources) % 3 or not len(sources):
        raise ValueError(
            f"{len(sources)} sources with {subject.styles} styles an image make no page; give a multiple of three, at 8 px "
            "or more"
        )
    layers, each = subject.styles, len(sources) // 3
    own = broadcast_styles(_embedded(subject, destinations), layers)
    rows = []
    for place, code in enumerate(_embedded(subject, sources)):
        first, stop = groups[place // each]
        styles = own.clone()
        styles[:, first:stop] = code
        rows.append(_decoded(subject, styles))
    return grids.mixing_page(_bytes(sources), _bytes(destinations), np.concatenate(rows), [each] * 3)


def interpolated(subject: Subject, corners: Tensor, side: int = SIDE) -> Pixels:
    """Page of `side` x `side` images interpolated bilinearly in W between the reconstructions of four images [4, C, R, R].

    The four are the upper left, upper right, lower left and lower right corner.
    """
    if len(corners) != 4 or side < 2:
        raise ValueError(f"{len(corners)} corners of a page of side={side}; give 4 images and a side of 2 or more")
    w = _embedded(subject, corners)
    across = torch.linspace(0.0, 1.0, side).view(1, -1, 1)
    down = across.view(-1, 1, 1)
    codes = torch.lerp(torch.lerp(w[0], w[1], across), torch.lerp(w[2], w[3], across), down)
    return grids.sample_page(_decoded(subject, codes.flatten(0, 1)), side)


def truncated(subject: Subject, columns: int, psis: Sequence[float] = PSIS) -> Pixels:
    """Page with one row of the same `columns` samples per psi; raises SamplingError without a mean code."""
    rows = [torch.cat(list(subject.samples(columns, Sampling(truncation=psi)))) for psi in psis]
    return grids.sample_page(_bytes(torch.cat(rows)), columns)


def edited(
    subject: Subject, codes: Tensor, direction: Tensor, *, real: Tensor | None = None, steps: Sequence[float] = STEPS
) -> Pixels:
    """Page with one row per code [n, D]: its image, and images of the code plus `steps` times a direction [D] in W.

    If real images [n, C, R, R] are given, they are the first column.
    """
    moved = codes.unsqueeze(1) + direction * direction.new_tensor(steps).unsqueeze(1)
    shown = _decoded(subject, codes), _decoded(subject, moved.flatten(0, 1))
    return grids.edited_page(*shown, None if real is None else _bytes(real))


def _embedded(subject: Subject, real: Tensor) -> Tensor:
    parts = real.split(most_at_once(subject.level.resolution))
    return torch.cat([subject.encoded(subject.batch(0, len(part), part)) for part in parts])


def _decoded(subject: Subject, codes: Tensor) -> Pixels:
    parts = codes.split(most_at_once(subject.level.resolution))
    return _bytes(torch.cat([subject.decoded(part, subject.batch(0, len(part)), SHARED) for part in parts]))


def _bytes(content: Tensor) -> Pixels:
    return images.to_uint8(content).numpy()
