"""Training loop over images in memory, without Ray, for notebooks and single GPU machines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alae_core import images, order, sync
from alae_core.engine import Engine, Metrics
from alae_core.state import TrainState

Pixels = NDArray[np.uint8]


def fit(
    state: TrainState,
    engine: Engine,
    pixels: Pixels | tuple[Pixels, ...],
    *,
    until_nimg: int | None = None,
    group_sizes: Sequence[int] | tuple[Sequence[int], ...] | None = None,
    window_images: int = 2048,
    on_iteration: Callable[[TrainState, Metrics], None] | None = None,
) -> TrainState:
    """Train `state` from its position to the end of the schedule, or to `until_nimg` images, and return it.

    `pixels`: uint8 [N, R, R, C] at the schedule's last resolution, or a tuple of such arrays, one per domain. `group_sizes`
    are the images in each row group of the dataset, for two domains one sequence each; default: one group. With the groups
    of a packed dataset the order of the images is that of `pipelines`, and both end in bit-identical states.
    `on_iteration` is called after each iteration with the state and its metrics. Raises ValueError if `group_sizes` do not
    add up to the images or the images are too small for the schedule.
    """
    schedule = engine.schedule
    domains = _domains(pixels, group_sizes, engine)
    device = next(iter(state.algorithm.networks.values())).parameters().__next__().device
    stop = schedule.total_nimg if until_nimg is None else until_nimg
    for nimg, rows in _batches(domains, engine, window_images, state.nimg):
        if nimg >= stop:
            break
        resolution = schedule.level_at(nimg).resolution
        batch = (domain.pyramid[resolution][own] for domain, own in zip(domains, rows, strict=True))
        metrics = engine.train_iteration(state, tuple(torch.from_numpy(images).to(device) for images in batch))
        if on_iteration is not None:
            on_iteration(state, metrics)
    return state


@dataclass(frozen=True)
class _Domain:
    pyramid: dict[int, Pixels]
    stream: order.StreamOrder
    channels: int


def _domains(
    pixels: Pixels | tuple[Pixels, ...],
    group_sizes: Sequence[int] | tuple[Sequence[int], ...] | None,
    engine: Engine,
) -> tuple[_Domain, ...]:
    alone = isinstance(pixels, np.ndarray)
    given: Any = (pixels,) if alone else pixels
    groups: Any = ((group_sizes,) if alone else group_sizes) or (None,) * len(given)
    found = []
    for index, (own, sizes) in enumerate(zip(given, groups, strict=True)):
        stream = order.StreamOrder(sizes or (len(own),), engine.seed, index)
        if stream.num_images != len(own):
            raise ValueError(
                f"group_sizes add up to {stream.num_images}, but there are {len(own)} images; make both the same"
            )
        found.append(_Domain(_pyramid(own, engine.schedule.resolutions), stream, own.shape[3]))
    return tuple(found)


def _batches(
    domains: Sequence[_Domain], engine: Engine, window_images: int, nimg: int
) -> Iterator[tuple[int, list[order.Rows]]]:
    """For each global batch from image `nimg` on: its first image in the stream, and this rank's rows in each domain."""
    rank, world = sync.rank(), sync.world_size()
    channels = sum(domain.channels for domain in domains)
    for window in order.windows(engine.schedule, window_images, channels, nimg):
        rows = [domain.stream.rows(window.start, window.stop) for domain in domains]
        share = window.batch_size // world
        for start in range(max(window.start, nimg), window.stop, window.batch_size):
            first = start - window.start + rank * share
            yield start, [own[first : first + share] for own in rows]


def _pyramid(pixels: Pixels, resolutions: Sequence[int]) -> dict[int, Pixels]:
    levels = {pixels.shape[1]: pixels}
    while min(levels) > min(resolutions) and min(levels) % 2 == 0:
        finest = min(levels)
        levels[finest // 2] = images.box_halve(levels[finest])
    missing = sorted(set(resolutions) - levels.keys())
    if missing:
        raise ValueError(f"images of {pixels.shape[1]} px cannot give the levels {missing}; use larger images")
    return levels
