"""The contract of algorithms, checked on every preset, shrunk to a dozen iterations."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alae_core import sync
from alae_core.algorithm import Batch, Networks, Terms, Update
from alae_core.images import to_float
from alae_core.noise import named_seed
from pipelines.experiment import Experiment
from tests.support import tensors, tiny
from tests.support.ranks import Pair

pytestmark = pytest.mark.slow

EXPERIMENTS = tiny.experiments()
EVERY = pytest.mark.parametrize("name", EXPERIMENTS)
VARIANTS = tiny.variants(EXPERIMENTS)
# Tests that train for long run on one experiment per algorithm in the fast suite, and on all in the whole suite.
EVERY_FOR_LONG = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name for name in EXPERIMENTS]
)


class Alone:
    """An algorithm that runs only one update and observes nothing."""

    def __init__(self, algorithm: Any, update: Update) -> None:
        self._algorithm = algorithm
        self._update = update

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def updates(self, nimg: int) -> tuple[Update, ...]:
        return (self._update,)

    def observe(self, batch: Batch, terms: Terms) -> None:
        pass


def moments_in_time(experiment: Experiment) -> list[int]:
    """An image count within each level and within each fade."""
    segments = experiment.schedule.segments
    fading = [s.start for s in segments if experiment.schedule.level_at(s.start).blend < 1]
    return fading + [s.stop - tiny.BATCH for s in segments]


def batch_at(experiment: Experiment, nimg: int, rows: slice) -> Batch:
    level = experiment.schedule.level_at(nimg)
    images = tuple(to_float(domain[rows]) for domain in tiny.pixels(experiment, nimg))
    return Batch(images=images, level=level, nimg=nimg, seed=0, rows=rows, update="sample")


def made(algorithm: Any, networks: Networks, batch: Batch) -> list[torch.Tensor]:
    """The algorithm's output: new images, or translations into both domains."""
    if algorithm.domains == 2:
        return [algorithm.translate(networks, batch, to) for to in range(2)]
    return [algorithm.generate(networks, batch)]


def reconstructed(algorithm: Any, networks: Networks, batch: Batch) -> list[torch.Tensor]:
    """Reconstructions of each domain's images; empty without an encoder."""
    if algorithm.domains == 2:
        return [algorithm.reconstruct(networks, batch, domain) for domain in range(2)]
    found = algorithm.reconstruct(networks, batch)
    return [] if found is None else [found]


def due(state: Any, iteration: int) -> Iterator[Update]:
    return (u for u in state.algorithm.updates(state.nimg) if iteration % u.every == 0)


@EVERY
def test_it_builds_named_networks_and_updates_that_fit_together(name: str) -> None:
    algorithm = tiny.build(EXPERIMENTS[name]).algorithm
    updates = algorithm.updates(0)
    assert set(algorithm.averaged) <= set(algorithm.networks)
    assert algorithm.domains in (1, 2)
    assert len({u.name for u in updates}) == len(updates) > 0
    assert set().union(*(u.trains for u in updates)) == set(algorithm.networks)


@EVERY
def test_its_updates_are_a_pure_function_of_the_images_seen(name: str) -> None:
    algorithm = tiny.build(EXPERIMENTS[name]).algorithm

    def described(nimg: int) -> list[tuple[Any, ...]]:
        return [(u.name, u.trains, dict(u.weights), u.every, u.amp) for u in algorithm.updates(nimg)]

    first = described(0)
    described(EXPERIMENTS[name].schedule.total_nimg)
    assert described(0) == first


@EVERY_FOR_LONG
def test_each_update_moves_the_networks_it_trains_and_not_a_bit_of_the_others(name: str) -> None:
    experiment = EXPERIMENTS[name]
    for nimg in moments_in_time(experiment):
        for update in tiny.build(experiment).algorithm.updates(nimg):
            state = tiny.build(experiment)
            state.nimg = nimg
            own = next(u for u in state.algorithm.updates(nimg) if u.name == update.name)
            state.algorithm = Alone(state.algorithm, own)  # type: ignore[assignment]
            before = tensors.networks_of(state)
            tiny.train(state, experiment, until=nimg + 1)
            after = tensors.networks_of(state)
            moved = {role for role in before if tensors.differing(before[role], after[role])}
            assert moved == set(update.trains), f"{update.name} at {nimg}"


@EVERY
def test_a_frozen_network_collects_no_gradient_though_gradients_pass_through_it(name: str) -> None:
    experiment = EXPERIMENTS[name]
    for update in tiny.build(experiment).algorithm.updates(0):
        state = tiny.build(experiment)
        own = next(u for u in state.algorithm.updates(0) if u.name == update.name)
        state.algorithm = Alone(state.algorithm, own)  # type: ignore[assignment]
        tiny.train(state, experiment, until=1)
        with_gradient = {
            role
            for role, network in state.algorithm.networks.items()
            if any(p.grad is not None for p in network.parameters())
        }
        assert with_gradient == set(update.trains)


@EVERY
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_terms_are_finite_float32_scalars_named_by_their_update_at_every_level(name: str, precision: str) -> None:
    experiment = EXPERIMENTS[name]
    state = tiny.build(experiment)
    for nimg in moments_in_time(experiment):
        state.nimg, state.iteration = nimg, 0
        (metrics,) = tiny.train(state, experiment, until=nimg + 1, precision=precision)
        assert {key.split("/")[0] for key in metrics} == {u.name for u in state.algorithm.updates(nimg)}
        for key, value in metrics.items():
            assert key.count("/") == 1 and key.split("/")[1]
            assert value.shape == () and value.dtype == torch.float32 and not value.requires_grad
            assert torch.isfinite(value), key


@EVERY_FOR_LONG
def test_bfloat16_changes_the_numbers_but_keeps_every_weight_moment_and_average_in_float32(name: str) -> None:
    experiment = EXPERIMENTS[name]
    state, full = tiny.build(experiment), tiny.build(experiment)
    until = experiment.schedule.total_nimg
    tiny.train(state, experiment, until, precision="bf16")
    tiny.train(full, experiment, until)
    found = [v for v in tensors.flat(state.state_dict()).values() if isinstance(v, torch.Tensor)]
    assert {tensor.dtype for tensor in found} == {torch.float32}
    assert tensors.differing(tensors.networks_of(state), tensors.networks_of(full))


@EVERY_FOR_LONG
def test_an_update_that_weighs_an_unknown_term_is_refused_with_its_terms(name: str) -> None:
    experiment = EXPERIMENTS[name]
    for update in tiny.build(experiment).algorithm.updates(0):
        state = tiny.build(experiment)
        wrong = replace(update, weights={**update.weights, "misspelt": 1.0})
        state.algorithm = Alone(state.algorithm, wrong)  # type: ignore[assignment]
        with pytest.raises(ValueError, match=rf"^{update.name} weighs unknown terms \['misspelt'\]; its terms are"):
            tiny.train(state, experiment, until=1)


@EVERY_FOR_LONG
def test_a_resume_at_any_iteration_ends_bit_identical_to_the_uninterrupted_run(name: str) -> None:
    experiment = EXPERIMENTS[name]
    end = experiment.schedule.total_nimg
    state = tiny.build(experiment)
    files = {}
    while state.nimg < end:
        files[state.nimg] = tiny.saved(state)
        tiny.train(state, experiment, until=state.nimg + 1)
    # Within a level, at the change of level, within the fade, and near the end.
    stops = {tiny.BATCH, end - tiny.BATCH, *(s.start for s in experiment.schedule.segments[1:])}
    stops |= {nimg + tiny.BATCH for nimg in moments_in_time(experiment) if nimg + tiny.BATCH < end}
    for nimg in sorted(stops):
        again = tiny.restored(experiment, files[nimg])
        tiny.train(again, experiment, until=end)
        assert not tensors.differing(again.state_dict(), state.state_dict()), f"resumed at {nimg}"


@EVERY_FOR_LONG
def test_a_change_of_level_or_phase_clears_the_moments_once_and_a_resume_does_not(name: str) -> None:
    experiment = EXPERIMENTS[name]
    state = tiny.build(experiment)
    steps: dict[str, int] = {}
    phase = (0, False)
    while state.nimg < experiment.schedule.total_nimg:
        level = experiment.schedule.level_at(state.nimg)
        now = (level.index, level.blend < 1 and experiment.schedule.clear_moments == "phase")
        if now != phase:
            steps, phase = {}, now
        for update in due(state, state.iteration):
            for role in update.trains:
                steps[role] = steps.get(role, 0) + 1
        state = tiny.restored(experiment, tiny.saved(state))
        tiny.train(state, experiment, until=state.nimg + 1)
        taken = {
            role: int(max(moments["step"] for moments in optimizer.state.values()))
            for role, optimizer in state.optimizers.items()
        }
        assert taken == steps, f"after image {state.nimg}"


@EVERY_FOR_LONG
@pytest.mark.parametrize("parts", [2, 3])
def test_micro_batches_give_what_the_whole_batch_gives(name: str, parts: int) -> None:
    experiment = EXPERIMENTS[name]
    together = tiny.build(experiment).algorithm.together
    # Two equal parts; or three unequal ones, where images do not see each other.
    microbatch = (tiny.BATCH // 2 if parts == 2 or together > 1 else 3,)
    for nimg in moments_in_time(experiment)[:2]:
        with tensors.float64():
            whole, split = tiny.build(experiment), tiny.build(experiment)
            whole.nimg = split.nimg = nimg
            until = nimg + tiny.BATCH + 1
            expected = tiny.train(whole, experiment, until)
            found = tiny.train(split, experiment, until, microbatch=microbatch)
            assert tensors.distance(tensors.networks_of(split), tensors.networks_of(whole)) < 1e-6
            assert tensors.distance(found, expected) < 1e-5


@EVERY
def test_what_it_makes_and_reconstructs_by_the_averages_are_images_of_each_level_the_same_twice(name: str) -> None:
    experiment = EXPERIMENTS[name]
    state = tiny.build(experiment)
    algorithm = state.algorithm
    for nimg in moments_in_time(experiment):
        batch = batch_at(experiment, nimg, slice(2, 5))
        shape = (3, experiment.algorithm.channels, batch.level.resolution, batch.level.resolution)
        for images in (*made(algorithm, state.ema, batch), *reconstructed(algorithm, state.ema, batch)):
            assert images.shape == shape
            assert torch.isfinite(images).all()
        for images, again in zip(*(made(algorithm, state.ema, batch) for _ in range(2)), strict=True):
            assert torch.equal(images, again)


@EVERY
def test_mixing_gives_an_image_for_each_pair_source_by_source_or_nothing(name: str) -> None:
    experiment = EXPERIMENTS[name]
    state = tiny.build(experiment)
    for nimg in moments_in_time(experiment):
        sources = batch_at(experiment, nimg, slice(0, 2))
        destinations = batch_at(experiment, nimg, slice(2, 5))
        mixed = state.algorithm.mix(state.ema, sources, destinations)
        if mixed is None:
            continue
        assert mixed.shape == (6, *destinations.images[0].shape[1:])
        second = state.algorithm.mix(state.ema, batch_at(experiment, nimg, slice(1, 2)), destinations)
        torch.testing.assert_close(mixed[3:], second)


@EVERY_FOR_LONG
def test_an_image_is_made_the_same_whatever_it_is_batched_with(name: str) -> None:
    experiment = EXPERIMENTS[name]
    state = tiny.build(experiment)
    tiny.train(state, experiment, experiment.schedule.total_nimg)
    nimg = moments_in_time(experiment)[0]
    together = made(state.algorithm, state.ema, batch_at(experiment, nimg, slice(0, 8)))
    apart = made(state.algorithm, state.ema, batch_at(experiment, nimg, slice(5, 7)))
    for whole, part in zip(together, apart, strict=True):
        torch.testing.assert_close(whole[5:7], part, rtol=1e-4, atol=1e-5)


@EVERY
def test_json_keeps_the_initial_weights_and_only_the_seed_changes_them(name: str) -> None:
    experiment = EXPERIMENTS[name]
    first = tiny.build(experiment)
    torch.manual_seed(named_seed("somewhere else"))
    before = torch.get_rng_state()
    again = tiny.build(Experiment.from_json(experiment.to_json()))
    assert torch.equal(torch.get_rng_state(), before)
    assert not tensors.differing(tensors.networks_of(first), tensors.networks_of(again))
    other = tensors.networks_of(tiny.build(experiment, seed=experiment.seed + 1))
    assert all(tensors.differing(other[role], own) for role, own in tensors.networks_of(first).items())


def trained_on_this_rank(name: str, averaging: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Any]]:
    """Weights, averages and metrics of an experiment, trained across its first fade."""
    original = sync.average_gradients
    if not averaging:
        sync.average_gradients = lambda parameters: None
    try:
        with tensors.float64():
            state = tiny.build(EXPERIMENTS[name])
            metrics = tiny.train(state, EXPERIMENTS[name], until=5 * tiny.BATCH)
    finally:
        sync.average_gradients = original
    return _vector(state.algorithm.networks), _vector(state.ema), [_plain(iteration) for iteration in metrics]


def _plain(metrics: dict[str, torch.Tensor]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def _vector(networks: Any) -> NDArray[np.float64]:
    tensors = [t.reshape(-1) for network in networks.values() for t in network.state_dict().values()]
    return torch.cat(tensors).double().numpy()


@EVERY
@pytest.mark.distributed
def test_two_ranks_train_what_one_rank_trains_and_without_averaging_something_else(name: str, pair: Pair) -> None:
    networks, averages, metrics = trained_on_this_rank(name, averaging=True)
    ranks = pair(trained_on_this_rank, name, True)
    for rank in ranks:
        np.testing.assert_allclose(rank[0], networks, rtol=0, atol=1e-6)
        np.testing.assert_allclose(rank[1], averages, rtol=0, atol=1e-6)
    for own, *shares in zip(metrics, *(rank[2] for rank in ranks), strict=True):
        means = {key: np.mean([share[key] for share in shares]) for key in own}
        assert means == pytest.approx(own, abs=1e-5, rel=1e-5)
    apart = pair(trained_on_this_rank, name, False)
    assert np.abs(apart[0][0] - networks).max() > 1e-4
    assert np.abs(apart[0][0] - apart[1][0]).max() > 1e-4
