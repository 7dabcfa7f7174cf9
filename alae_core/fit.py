"""The plain loop over in-memory images: notebooks and bare GPU machines, without Ray."""

from collections.abc import Callable, Iterator, Sequence

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
    pixels: Pixels,
    *,
    until_nimg: int | None = None,
    group_sizes: Sequence[int] | None = None,
    window_images: int = 2048,
    on_iteration: Callable[[TrainState, Metrics], None] | None = None,
) -> TrainState:
    """Train `state` from its position to the end of the schedule, or to `until_nimg`.

    `pixels`: uint8 [N, R, R, C] at the schedule's last resolution. The order of the images is that of the service for a
    dataset of these row groups (`group_sizes`, default one group): on the same data both end bit-identical.
    """
    schedule = engine.schedule
    pyramid = _pyramid(pixels, schedule.resolutions)
    stream = order.StreamOrder(group_sizes or (len(pixels),), engine.seed)
    if stream.num_images != len(pixels):
        raise ValueError(
            f"group_sizes add up to {stream.num_images}, but there are {len(pixels)} images; make both the same"
        )
    device = next(iter(state.algorithm.networks.values())).parameters().__next__().device
    stop = schedule.total_nimg if until_nimg is None else until_nimg
    for nimg, rows in _batches(stream, engine, window_images, pixels.shape[3], state.nimg):
        if nimg >= stop:
            break
        level = schedule.level_at(nimg)
        batch = torch.from_numpy(pyramid[level.resolution][rows]).to(device)
        metrics = engine.train_iteration(state, (batch,))
        if on_iteration is not None:
            on_iteration(state, metrics)
    return state


def _batches(
    stream: order.StreamOrder, engine: Engine, window_images: int, channels: int, nimg: int
) -> Iterator[tuple[int, order.Rows]]:
    """This rank's rows of each global batch from image `nimg` on."""
    rank, world = sync.rank(), sync.world_size()
    for window in order.windows(engine.schedule, window_images, channels, nimg):
        rows = stream.rows(window.start, window.stop)
        share = window.batch_size // world
        for start in range(max(window.start, nimg), window.stop, window.batch_size):
            first = start - window.start + rank * share
            yield start, rows[first : first + share]


def _pyramid(pixels: Pixels, resolutions: Sequence[int]) -> dict[int, Pixels]:
    levels = {pixels.shape[1]: pixels}
    while min(levels) > min(resolutions) and min(levels) % 2 == 0:
        finest = min(levels)
        levels[finest // 2] = images.box_halve(levels[finest])
    missing = sorted(set(resolutions) - levels.keys())
    if missing:
        raise ValueError(f"images of {pixels.shape[1]} px cannot give the levels {missing}; use larger images")
    return levels
