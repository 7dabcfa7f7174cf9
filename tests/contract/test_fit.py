"""The plain loop: it resumes, stops, grows and learns, and divides its batches among ranks as the service does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import order
from alae_core.algorithms import alae
from alae_core.engine import Engine, Metrics
from alae_core.fit import fit
from alae_core.images import box_halve
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from alae_core.state import TrainState
from tests.support import tensors, tiny
from tests.support.ranks import Pair

pytestmark = pytest.mark.slow

EXPERIMENT = tiny.brief(tiny.presets.load("debug_mnist32_style_alae"))
TRANSLATOR = tiny.brief(tiny.presets.load("debug_emoji_noto2twemoji64_munit"))
END = EXPERIMENT.schedule.total_nimg


def pictures(count: int = 20, resolution: int = 8) -> NDArray[np.uint8]:
    shape = (count, resolution, resolution, EXPERIMENT.algorithm.channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_fit_stopped_within_a_window_and_a_fade_and_resumed_ends_bit_identical() -> None:
    engine = tiny.engine(EXPERIMENT)
    whole = fit(tiny.build(EXPERIMENT), engine, pictures(), window_images=24)
    assert whole.nimg == END
    stop = tiny.STABLE + tiny.BATCH
    part = fit(tiny.build(EXPERIMENT), engine, pictures(), window_images=24, until_nimg=stop)
    again = fit(tiny.restored(EXPERIMENT, tiny.saved(part)), engine, pictures(), window_images=24)
    assert part.nimg == stop
    assert not tensors.differing(again.state_dict(), whole.state_dict())


@pytest.mark.parametrize(("until", "reached"), [(0, 0), (1, 8), (16, 16), (17, 24)])
def test_it_stops_with_the_first_batch_that_reaches_the_limit(until: int, reached: int) -> None:
    assert fit(tiny.build(EXPERIMENT), tiny.engine(EXPERIMENT), pictures(), until_nimg=until).nimg == reached


def test_a_finished_state_is_left_as_it_is() -> None:
    state = tiny.build(EXPERIMENT)
    state.nimg = END
    before = tensors.networks_of(state)
    fit(state, tiny.engine(EXPERIMENT), pictures())
    assert not tensors.differing(tensors.networks_of(state), before)


def test_it_trains_on_the_rows_of_the_stream_at_the_resolution_of_the_level() -> None:
    images, groups = pictures(), (6, 9, 5)
    fitted = fit(tiny.build(EXPERIMENT), tiny.engine(EXPERIMENT), images, group_sizes=groups, window_images=24)
    by_hand = tiny.build(EXPERIMENT)
    engine = tiny.engine(EXPERIMENT)
    stream = order.StreamOrder(groups, EXPERIMENT.seed)
    for window in order.windows(EXPERIMENT.schedule, 24, images.shape[3]):
        for rows in stream.rows(window.start, window.stop).reshape(-1, tiny.BATCH):
            batch = images[rows] if window.level else box_halve(images[rows])
            engine.train_iteration(by_hand, (torch.from_numpy(batch),))
    assert not tensors.differing(fitted.state_dict(), by_hand.state_dict())


def test_larger_images_are_halved_to_the_levels() -> None:
    images, engine = pictures(resolution=16), tiny.engine(EXPERIMENT)
    small = fit(tiny.build(EXPERIMENT), engine, box_halve(images), until_nimg=32)
    large = fit(tiny.build(EXPERIMENT), engine, images, until_nimg=32)
    assert not tensors.differing(small.state_dict(), large.state_dict())


@pytest.mark.parametrize("resolution", [4, 12, 5])
def test_images_that_cannot_give_a_level_are_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match=rf"images of {resolution} px cannot give the levels \[.*8\]"):
        fit(tiny.build(EXPERIMENT), tiny.engine(EXPERIMENT), pictures(resolution=resolution))


@pytest.mark.parametrize("groups", [(6, 9), (6, 9, 6)])
def test_groups_that_do_not_add_up_to_the_images_are_refused(groups: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"group_sizes add up to {sum(groups)}, but there are 20 images"):
        fit(tiny.build(EXPERIMENT), tiny.engine(EXPERIMENT), pictures(), group_sizes=groups)


def test_each_iteration_is_reported_with_its_metrics() -> None:
    reported: list[tuple[int, set[str]]] = []

    def on_iteration(state: TrainState, metrics: Metrics) -> None:
        reported.append((state.nimg, {name.split("/")[0] for name in metrics}))

    state = tiny.build(EXPERIMENT)
    due = [{u.name for u in state.algorithm.updates(0) if n % u.every == 0} for n in range(2)]
    fit(state, tiny.engine(EXPERIMENT), pictures(), until_nimg=16, on_iteration=on_iteration)
    assert reported == [(8, due[0]), (16, due[1])]


def test_a_tiny_alae_learns_to_encode_what_it_generates() -> None:
    """The latent term falls well below its first value on images of constant gray."""
    grey = np.random.default_rng(0).integers(0, 256, (64, 1, 1, 1), np.uint8).repeat(4, 1).repeat(4, 2)
    config = alae.Config(resolution=4, latent=8, hidden=32, mapping_layers=2)
    schedule = ProgressiveSchedule(resolutions=(4,), stable_kimg=(1.6,), batch_size=(16,), lr=(0.002,))
    engine = replace(tiny.engine(EXPERIMENT), schedule=schedule, flip=False)
    latent: list[float] = []
    state = TrainState.build(config, 0, AdamConfig())
    fit(state, engine, grey, on_iteration=lambda _, m: latent.append(float(m["reciprocity/latent"])))
    assert len(latent) == 100
    assert np.mean(latent[-10:]) < 0.5 * np.mean(latent[:10])


def fitted() -> list[float]:
    with tensors.float64():
        state = fit(tiny.build(EXPERIMENT), tiny.engine(EXPERIMENT), pictures(), until_nimg=40, window_images=24)
        found = tensors.flat(tensors.networks_of(state)).values()
        return [number for tensor in found for number in tensor.flatten().tolist()]


@pytest.mark.distributed
def test_two_ranks_fit_as_one(pair: Pair) -> None:
    alone = fitted()
    for rank in pair(fitted):
        np.testing.assert_allclose(rank, alone, rtol=0, atol=1e-6)


def seen_by(groups: tuple[tuple[int, ...], ...] | None, *counts: int) -> list[list[float]]:
    """Images of each domain, identified by brightness, in the order in which a run of two domains trains on them."""
    domains = tuple(np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8) for n in counts)
    shown: list[tuple[Tensor, ...]] = []
    engine = tiny.engine(TRANSLATOR, flip=False, crop=0.0)
    state = tiny.build(TRANSLATOR)
    train = Engine.train_iteration
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Engine, "train_iteration", lambda self, s, px: (shown.append(px), train(self, s, px))[1])
        fit(state, engine, domains, group_sizes=groups, window_images=8)
    return [[float(image.float().mean()) for batch in shown for image in batch[domain]] for domain in range(2)]


@pytest.mark.parametrize("groups", [None, ((4, 4), (3, 2))])
def test_two_domains_are_seen_each_in_its_own_order_and_its_own_epochs(
    groups: tuple[tuple[int, ...], ...] | None,
) -> None:
    first, second = seen_by(groups, 8, 5)
    assert len(first) == len(second) == TRANSLATOR.schedule.total_nimg
    for order_seen, count in ((first, 8), (second, 5)):
        for start in range(0, len(order_seen) - count + 1, count):
            assert sorted(order_seen[start : start + count]) == list(range(count))
    alike, paired = seen_by(None, 8, 8)
    assert alike != paired


def test_a_fit_of_two_domains_stopped_while_the_rate_falls_and_resumed_ends_bit_identical() -> None:
    engine, domains = tiny.engine(TRANSLATOR), tuple(pictures(n).repeat(3, axis=3) for n in (20, 13))
    assert TRANSLATOR.schedule.lr_falls_from_kimg == 0.016
    whole = fit(tiny.build(TRANSLATOR), engine, domains)
    part = fit(tiny.build(TRANSLATOR), engine, domains, until_nimg=16)
    again = fit(tiny.restored(TRANSLATOR, tiny.saved(part)), engine, domains)
    assert not tensors.differing(again.state_dict(), whole.state_dict())
