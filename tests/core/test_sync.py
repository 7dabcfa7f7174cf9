"""Communication between ranks; each function here runs on both ranks of a pair."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from alae_core import sync
from alae_core.engine import Engine, NonFiniteError
from tests.core.test_engine import SCHEDULE, pixels, state_of, update, value
from tests.support.ranks import Pair

pytestmark = pytest.mark.distributed


def networks(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 1))
    return {"model": network.to(memory_format=torch.channels_last)}  # type: ignore[call-overload]


def contents(found: dict[str, Any]) -> list[list[float]]:
    return [tensor.double().flatten().tolist() for tensor in found["model"].state_dict().values()]


def broadcast() -> tuple[list[list[float]], list[list[float]]]:
    own = networks(sync.rank())
    own["model"][1].running_mean.fill_(float(sync.rank()))
    before = contents(own)
    sync.broadcast_networks(own)
    return before, contents(own)


def test_after_a_broadcast_every_rank_has_the_parameters_and_buffers_of_the_first(pair: Pair) -> None:
    (first, after_first), (second, after_second) = pair(broadcast)
    assert first != second
    assert after_first == after_second == first


def averaged() -> list[list[float] | None]:
    model = networks(0)["model"]
    parameters = list(model.parameters())
    for index, parameter in enumerate(parameters[:-1]):
        ramp = torch.arange(parameter.numel(), dtype=torch.float32).reshape(parameter.shape)
        parameter.grad = torch.empty_like(parameter).copy_(ramp * (1 + 2 * sync.rank()) + index)
    sync.average_gradients(parameters)
    return [None if p.grad is None else p.grad.flatten().tolist() for p in parameters]


def test_gradients_become_their_mean_element_by_element_and_missing_ones_stay_missing(pair: Pair) -> None:
    first, second = pair(averaged)
    assert first == second
    assert first[-1] is None
    for index, gradient in enumerate(first[:-1]):
        assert gradient == [2.0 * place + index for place in range(len(gradient))]


def gathered() -> list[Any]:
    return sync.gather([{"rank": sync.rank()}])


def test_every_rank_sees_what_each_of_them_gives(pair: Pair) -> None:
    assert pair(gathered) == [[[{"rank": 0}], [{"rank": 1}]]] * 2


def handed_on() -> list[Any]:
    return [sync.broadcast({"rank": sync.rank()}), sync.broadcast(b"x" * 3 if sync.rank() == 0 else None)]


def test_every_rank_has_what_the_first_gives(pair: Pair) -> None:
    assert pair(handed_on) == [[{"rank": 0}, b"xxx"]] * 2


def _nothing(network: Any) -> None:
    pass


def _one_bit(network: Any) -> None:
    if sync.rank() == 1:
        bits = network[2].weight.data.view(torch.int32)
        bits[0, 3] ^= 1


def _swapped(network: Any) -> None:
    if sync.rank() == 1:
        weight = network[0].weight.data
        weight[0], weight[1] = weight[1].clone(), weight[0].clone()  # type: ignore[operator, index]


def _buffer(network: Any) -> None:
    network[1].num_batches_tracked.fill_(sync.rank())


def _same_nan(network: Any) -> None:
    network[2].bias.data.fill_(float("nan"))


def checked(spoil: Callable[[Any], None]) -> str:
    own = networks(0)
    spoil(own["model"])
    try:
        sync.check_replicas(own)
    except RuntimeError as error:
        return str(error)
    return "equal"


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (_one_bit, "model.2.weight"),
        (_swapped, "model.0.weight"),
        (_buffer, "model.1.num_batches_tracked"),
    ],
)
def test_a_difference_between_ranks_is_named_on_both(pair: Pair, spoil: Callable[[Any], None], where: str) -> None:
    said = f"replicas differ between ranks in {where}; restart from the last checkpoint"
    assert pair(checked, spoil) == [said, said]


@pytest.mark.parametrize("spoil", [_nothing, _same_nan])
def test_equal_bits_are_equal_replicas(pair: Pair, spoil: Callable[[Any], None]) -> None:
    assert pair(checked, spoil) == ["equal", "equal"]


def refused(kind: str) -> tuple[str, float]:
    """Train an iteration in which only rank 1 has a value that is not finite."""

    def loss(batch: object) -> dict[str, torch.Tensor]:
        if sync.rank() == 0:
            return {"term": value(state)}
        if kind == "nan":
            return {"term": value(state) * float("nan")}
        return {"term": value(state) + (value(state) * 1e30).square().detach()}

    state = state_of(update(loss))
    try:
        Engine(schedule=SCHEDULE).train_iteration(state, (pixels(count=4),))
    except NonFiniteError as error:
        return str(error), value(state).item()
    return "trained", value(state).item()


@pytest.mark.parametrize("kind", ["nan", "overflow with a finite gradient"])
def test_what_is_not_finite_on_one_rank_stops_every_rank_before_the_step(pair: Pair, kind: str) -> None:
    (first, kept_first), (second, kept_second) = pair(refused, kind)
    assert first == "step/gradient is not finite at 0.000 kimg (level 0, 4px) on rank 0: in another rank's images"
    place = "first in the term term itself, of finite outputs"
    assert second == f"step/term is not finite at 0.000 kimg (level 0, 4px) on rank 1: {place}"
    assert kept_first == kept_second == 2.0


def divided(count: int) -> str:
    state = state_of(update(lambda batch: {"none": 0 * value(state)}))
    odd = type(SCHEDULE)(resolutions=(4,), stable_kimg=(1.0,), batch_size=(count,))
    try:
        Engine(schedule=odd).train_iteration(state, (pixels(count=count // 2),))
    except ValueError as error:
        return str(error)
    return "trained"


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused_rather_than_cut(pair: Pair) -> None:
    said = "schedule.batch_size=7 (level 0) does not divide over 2 ranks; use a multiple of them"
    assert pair(divided, 7) == [said, said]
    assert pair(divided, 6) == ["trained", "trained"]


def test_without_a_process_group_there_is_one_rank_and_nothing_to_do() -> None:
    own = networks(0)
    before = contents(own)
    sync.broadcast_networks(own)
    sync.average_gradients(own["model"].parameters())
    sync.check_replicas(own)
    assert (sync.rank(), sync.world_size(), sync.gather("own"), sync.broadcast("own")) == (0, 1, ["own"], "own")
    assert contents(own) == before
