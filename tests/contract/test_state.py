"""The training state: built from a seed, saved as plain tensors, loaded whole or not at all."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.support import tensors, tiny

EXPERIMENT = tiny.brief(tiny.presets.load("debug_mnist32_style_alae"))
Saved = dict[str, Any]


@pytest.fixture(scope="module")
def trained() -> bytes:
    """A state after a few iterations, as a file."""
    state = tiny.build(EXPERIMENT)
    tiny.train(state, EXPERIMENT, until=5 * tiny.BATCH)
    return tiny.saved(state)


def loaded(file: bytes) -> Saved:
    return tiny.restored(EXPERIMENT, file).state_dict()


def test_a_state_comes_back_whole_without_trusting_the_file(trained: bytes) -> None:
    state = tiny.build(EXPERIMENT)
    tiny.train(state, EXPERIMENT, until=5 * tiny.BATCH)
    assert not tensors.differing(loaded(trained), state.state_dict())
    assert (state.nimg, state.iteration, state.level_index) == (5 * tiny.BATCH, 5, 1)


def test_the_averages_start_as_the_networks() -> None:
    state = tiny.build(EXPERIMENT)
    for role, average in state.ema.items():
        assert not tensors.differing(average.state_dict(), state.algorithm.networks[role].state_dict())


def _without_scalar(saved: Saved) -> None:
    del saved["iteration"]


def _without_optimizers(saved: Saved) -> None:
    del saved["optimizers"]


def _without_network(saved: Saved) -> None:
    del saved["networks"]["encoder"]


def _without_tensor(saved: Saved) -> None:
    del saved["ema"]["generator"]["to_rgb.0.bias"]


def _with_another_tensor(saved: Saved) -> None:
    saved["networks"]["mapping"]["extra"] = torch.zeros(1)


def _of_another_shape(saved: Saved) -> None:
    saved["networks"]["mapping"]["w_mean"] = torch.zeros(3)


def _of_another_schema(saved: Saved) -> None:
    saved["schema"] = 99


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_scalar, r"it lacks \['iteration'\]"),
        (_without_optimizers, r"it lacks \['optimizers'\]"),
        (_without_network, r"networks missing \['encoder'\], unexpected \[\]"),
        (_without_tensor, r"ema\.generator missing \['to_rgb\.0\.bias'\], unexpected \[\]"),
        (_with_another_tensor, r"networks\.mapping missing \[\], unexpected \['extra'\]"),
        (_of_another_shape, r"networks\.mapping\.w_mean is \(3,\) in the checkpoint and \(8,\) here"),
        (_of_another_schema, r"checkpoint schema 99 is not 1"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_before_anything_is_changed(
    trained: bytes, spoil: Callable[[Saved], None], message: str
) -> None:
    saved = copy.deepcopy(loaded(trained))
    spoil(saved)
    state = tiny.build(EXPERIMENT, seed=7)
    before = copy.deepcopy(state.state_dict())
    with pytest.raises(ValueError, match=message):
        state.load_state_dict(saved)
    assert not tensors.differing(state.state_dict(), before)


def test_two_states_loaded_from_the_same_dictionary_share_nothing(trained: bytes) -> None:
    first, second = tiny.restored(EXPERIMENT, trained), tiny.build(EXPERIMENT)
    second.load_state_dict(first.state_dict())
    before = copy.deepcopy(first.state_dict())
    tiny.train(second, EXPERIMENT, until=7 * tiny.BATCH)
    assert not tensors.differing(first.state_dict(), before)


def test_moments_saved_in_another_memory_layout_train_on_bit_identically(trained: bytes) -> None:
    first, second = tiny.restored(EXPERIMENT, trained), tiny.build(EXPERIMENT)
    saved = copy.deepcopy(first.state_dict())
    for optimizer in saved["optimizers"].values():
        for moments in optimizer["state"].values():
            moments.update({name: value.contiguous() for name, value in moments.items()})
    second.load_state_dict(saved)
    for state in (first, second):
        tiny.train(state, EXPERIMENT, until=7 * tiny.BATCH)
    assert not tensors.differing(first.state_dict(), second.state_dict())


def test_networks_of_another_run_come_without_its_counters_and_moments(trained: bytes) -> None:
    state = tiny.build(EXPERIMENT, seed=7)
    state.load_networks(loaded(trained))
    whole = tiny.restored(EXPERIMENT, trained)
    assert not tensors.differing(tensors.networks_of(state), tensors.networks_of(whole))
    assert not tensors.differing(state.state_dict()["ema"], whole.state_dict()["ema"])
    assert (state.nimg, state.iteration, state.level_index) == (0, 0, 0)
    assert not any(optimizer.state for optimizer in state.optimizers.values())


def test_networks_that_do_not_fit_are_refused_before_anything_is_changed(trained: bytes) -> None:
    saved = copy.deepcopy(loaded(trained))
    saved["ema"]["mapping"]["w_mean"] = torch.zeros(3)
    state = tiny.build(EXPERIMENT, seed=7)
    before = copy.deepcopy(state.state_dict())
    with pytest.raises(ValueError, match=r"ema\.mapping\.w_mean is \(3,\) in the checkpoint"):
        state.load_networks(saved)
    assert not tensors.differing(state.state_dict(), before)
