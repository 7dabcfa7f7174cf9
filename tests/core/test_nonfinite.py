"""Values that are not finite are refused before the step; the error names update, term, kimg and the first layer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alae_core import nonfinite
from alae_core.engine import NonFiniteError
from alae_core.state import TrainState
from tests.core.test_engine import average, pixels, state_of, step, update, value


class Layers(nn.Module):
    """Two layers of which the second overflows."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((1, 1), 2.0))
        self.calm, self.wild = nn.Identity(), nn.Softplus()

    def forward(self) -> Tensor:
        found: Tensor = self.wild(self.calm(self.value) * 1e38 * 1e3)
        return found


def _overflowing_layer(state: TrainState) -> dict[str, Tensor]:
    return {"good": value(state).sum(), "bad": state.algorithm.networks["layered"]() * value(state)}


def _nan_term(state: TrainState) -> dict[str, Tensor]:
    return {"good": value(state).sum(), "bad": value(state).sum() * float("nan")}


def _infinite_term_of_finite_gradient(state: TrainState) -> dict[str, Tensor]:
    return {"good": value(state).sum(), "bad": (value(state) * 1e20).square() * 1e-20 * 1e20}


def _finite_term_of_infinite_gradient(state: TrainState) -> dict[str, Tensor]:
    return {"good": (value(state) - value(state).detach()).sum().sqrt()}


@pytest.mark.parametrize(
    ("broken", "name", "place"),
    [
        (_overflowing_layer, "bad", "first in the output of layered.wild"),
        (_nan_term, "bad", "first in the term bad itself, of finite outputs"),
        (_infinite_term_of_finite_gradient, "bad", "first in the term bad itself, of finite outputs"),
        (_finite_term_of_infinite_gradient, "gradient", "first in the gradient of first.value"),
    ],
)
def test_what_is_not_finite_is_refused_by_name_and_place_before_anything_moved(
    broken: Callable[[TrainState], dict[str, Tensor]], name: str, place: str
) -> None:
    box: list[TrainState] = []
    state = state_of(update(lambda batch: broken(box[0]), name="second_step"))
    box.append(state)
    state.algorithm.networks["layered"] = Layers()
    state.nimg, state.iteration = 24, 3
    message = rf"^second_step/{name} is not finite at 0\.024 kimg \(level 1, 8px\) on rank 0: {place}$"
    with pytest.raises(NonFiniteError, match=message):
        step(state, pixels(8))
    assert value(state).item() == 2.0 and not state.optimizers["first"].state
    assert average(state).value.item() == 2.0
    assert (state.nimg, state.iteration) == (24, 3)


class Chain(nn.Module):
    """Three layers; a test can give the second one a weight that is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.blocks(x), {}


@pytest.mark.parametrize("broken", range(3))
def test_the_first_layer_is_named_in_the_order_of_the_forward_pass(broken: int) -> None:
    networks: dict[str, Any] = {"whole": Chain(), "frozen": Chain().requires_grad_(False)}
    with torch.no_grad():
        networks["frozen"].blocks[broken].weight[0, 0] = float("nan")

    def run() -> dict[str, Tensor]:
        return {"term": networks["frozen"](networks["whole"](torch.ones(1, 2))[0])[0].sum()}

    assert nonfinite.place(networks, run) == f"first in the output of frozen.blocks.{broken}"
    assert not any(layer._forward_hooks for network in networks.values() for layer in network.modules())


def test_what_this_rank_s_images_do_not_repeat_came_from_another_s() -> None:
    chain = Chain()

    def run() -> dict[str, Tensor]:
        total = chain(torch.ones(1, 2))[0].sum()
        total.backward()
        return {"term": total.detach()}

    assert nonfinite.place({"chain": chain}, run) == "in another rank's images"
