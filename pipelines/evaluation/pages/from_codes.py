"""Pages drawn from codes: styles mixed by depth, interpolation between real images, truncation, editing along directions.

All images of a page but the samples share one draw of noise, so that what differs is what the codes say.
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
"""Truncations of the page's rows."""
STEPS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
"""How far a page of editing goes along a direction."""
SIDE = 7
"""Images along a side of the interpolation."""
MIXED = 6
"""Sources and destinations of the mixing page."""
SHARED = Sampling(noise="shared")


def drawn_from_codes(subject: Subject, real: Tensor, columns: int) -> dict[str, Pixels]:
    """The pages that can be had of the subject, of these real images [n, C, R, R], by figure name."""
    pages = {}
    # Without a mean to pull towards there is no such page.
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
    """First and stop layer of the coarse, middle and fine styles: StyleGAN's (section 3.1) from 64 px on, else thirds.

    StyleGAN calls 4x4 and 8x8 coarse, 16x16 and 32x32 middle. Empty below three layers.
    """
    if layers < 3:
        return ()
    first, second = (4, 8) if layers > 8 else (-(-layers // 3), -(-2 * layers // 3))
    return (0, first), (first, second), (second, layers)


def mixed_by_depth(subject: Subject, sources: Tensor, destinations: Tensor) -> Pixels:
    """Destinations [m, C, R, R] along the top with the coarse, middle or fine styles of the real image on the left.

    `sources` [n, C, R, R]: the first third give their coarse styles, the next their middle, the last their fine ones.
    Raises ValueError where the sources are no multiple of three, or images have fewer than three styles.
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
    """`side` x `side` images between four real ones [4, C, R, R], bilinear in W; their reconstructions are the corners.

    The corners are the upper left, upper right, lower left and lower right image.
    """
    if len(corners) != 4 or side < 2:
        raise ValueError(f"{len(corners)} corners of a page of side={side}; give 4 images and a side of 2 or more")
    w = _embedded(subject, corners)
    across = torch.linspace(0.0, 1.0, side).view(1, -1, 1)
    down = across.view(-1, 1, 1)
    codes = torch.lerp(torch.lerp(w[0], w[1], across), torch.lerp(w[2], w[3], across), down)
    return grids.sample_page(_decoded(subject, codes.flatten(0, 1)), side)


def truncated(subject: Subject, columns: int, psis: Sequence[float] = PSIS) -> Pixels:
    """A row of the same `columns` samples for each psi; raises SamplingError where there is no mean to pull towards."""
    rows = [torch.cat(list(subject.samples(columns, Sampling(truncation=psi)))) for psi in psis]
    return grids.sample_page(_bytes(torch.cat(rows)), columns)


def edited(
    subject: Subject, codes: Tensor, direction: Tensor, *, real: Tensor | None = None, steps: Sequence[float] = STEPS
) -> Pixels:
    """A row for each code [n, D]: its image, and that moved along one direction [D] in W by `steps`, from left to right.

    Before the image of the code stands the real one [n, C, R, R], where it is given.
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
