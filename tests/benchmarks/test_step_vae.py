"""The benchmark of IntroVAE and Soft-IntroVAE: the plain iteration and ours give the same weights."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithm import Batch
from alae_core.engine import Engine
from alae_core.state import TrainState
from benchmarks.step import cases, flops, machine, modes, timing
from benchmarks.step.reference_vae import METHODS, VaeReference
from benchmarks.step.reference_vae_networks import reference_of, weights
from tests.support import tensors

pytestmark = pytest.mark.slow

BATCH = 4
ITERATIONS = 2
AMONG_THE_FAKES = (3.0,)
"""A margin between the divergences of the samples' groups."""
KINDS = pytest.mark.parametrize("kind", METHODS)


@pytest.fixture
def _double() -> Iterator[None]:
    with tensors.float64():
        yield


def case_of(kind: str, **changes: Any) -> cases.Case:
    sizes = {
        "resolution": 16,
        "final_resolution": 16,
        "base_channels": 4,
        "max_channels": 12,
        "latent": 6,
        "channels": 2,
    }
    return cases.Case(algorithm=kind, batch=BATCH, **(sizes | changes))


class Pair:
    """Our networks at one level and the reference's with their weights, and the same images and draws for both."""

    def __init__(self, kind: str, **losses: Any) -> None:
        self.case = case_of(kind)
        config = self.case.config()
        self.config = replace(
            config, loss=replace(config.loss, **losses), **({"group": 2} if kind == "intro_vae" else {})
        )
        self.state = TrainState.build(self.config, 0, self.case.adam)
        self.ours: Any = self.state.algorithm.networks
        draws = torch.Generator().manual_seed(1)
        for network in self.ours.values():
            for parameter in network.parameters():
                # Norms and biases too: at the start they are ones and zeros, and would hide an error.
                parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=draws))
        self.level = self.case.schedule().level_at(self.case.nimg)
        self.theirs = self._plain(reference_of(self.config, self.ours))

    def train(self) -> list[dict[str, Tensor]]:
        """Both, for some iterations; our terms."""
        engine = Engine(schedule=self.case.schedule(), seed=0)
        self.state.nimg = self.case.nimg
        found = []
        for _ in range(ITERATIONS):
            batch = self.batch(self.state.nimg)
            self.theirs.steps(batch.images[0], lambda update, name, b=batch: self.noise(b, update, name))
            found.append(engine.train_iteration(self.state, (self._pixels(self.state.nimg),)))
        return found

    def batch(self, nimg: int) -> Batch:
        """The reals of an iteration and the names of its noise."""
        real = images.to_float(self._pixels(nimg))
        return Batch(images=(real,), level=self.level, nimg=nimg, seed=0, rows=slice(0, BATCH))

    def noise(self, batch: Batch, update: str, name: str) -> Tensor:
        """Ours of an update, by its name."""
        return replace(batch, update=update).noise(name, self.config.latent)

    def _pixels(self, nimg: int) -> Tensor:
        shape, draws = (BATCH, 16, 16, self.config.channels), torch.Generator().manual_seed(nimg)
        return torch.randint(0, 256, shape, generator=draws, dtype=torch.uint8)

    def _plain(self, networks: dict[str, Any]) -> VaeReference:
        adam = self.case.adam
        return METHODS[self.config.kind](
            **networks,
            averages={},
            config=self.config,
            lr=self.level.lr,
            betas=(adam.beta1, adam.beta2),
            draws=torch.Generator(),
        )

    def networks(self) -> dict[str, Any]:
        return {"encoder": self.theirs.encoder, "generator": self.theirs.generator}


@KINDS
def test_the_reference_networks_compute_what_ours_compute(_double: None, kind: str) -> None:
    pair = Pair(kind)
    real, depth = pair.batch(0).images[0], pair.level.depth
    z = torch.randn(BATCH, pair.config.latent)
    close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(pair.theirs.encoder(real), pair.ours["encoder"](real, depth), **close)
    torch.testing.assert_close(pair.theirs.generator(z), pair.ours["generator"](z, depth), **close)


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        ("intro_vae", {"margin": AMONG_THE_FAKES}),
        ("intro_vae", {"margin": (120.0,), "negative_weight": 1.0, "kl_weight": 0.5}),
        ("soft_intro_vae", {"fake_reconstruction_weight": 0.3, "negative_weight": (64.0,)}),
        ("soft_intro_vae", {"fake_reconstruction_weight": 1e-8, "scale": 0.01}),
    ],
)
def test_iterations_of_the_reference_and_of_ours_give_the_same_weights(
    _double: None, kind: str, losses: dict[str, Any]
) -> None:
    pair = Pair(kind, **losses)
    before = [parameter.detach().clone() for parameter, _ in weights(pair.ours, pair.networks())]
    terms = pair.train()
    if losses.get("margin") == AMONG_THE_FAKES:
        assert 0 < terms[0]["encoder/active_sample"] < 1, (
            "no hinge is idle beside one that pushes; choose another margin"
        )
    for old, (parameter, ours) in zip(before, weights(pair.ours, pair.networks()), strict=True):
        torch.testing.assert_close(
            parameter, ours, rtol=1e-5, atol=1e-5 * float((parameter - old).detach().abs().max())
        )
        assert not torch.equal(parameter, old)


def test_the_reference_has_the_official_term_that_ours_leaves_out(_double: None) -> None:
    losses = []
    for weight in (0.0, 1e-8, 1e-3):
        pair = Pair("soft_intro_vae", fake_reconstruction_weight=weight)
        batch = pair.batch(pair.case.nimg)
        losses.append(
            pair.theirs.steps(batch.images[0], lambda update, name, p=pair, b=batch: p.noise(b, update, name))
        )
    assert losses[0] == losses[1] != losses[2]


@KINDS
def test_every_parameter_of_the_reference_is_mapped_once(kind: str) -> None:
    pair = Pair(kind)
    own = [id(p) for network in pair.networks().values() for p in network.parameters()]
    assert sorted(id(parameter) for parameter, _ in weights(pair.ours, pair.networks())) == sorted(own)


@KINDS
def test_an_iteration_of_the_reference_moves_both_networks_and_their_averages(kind: str) -> None:
    case = case_of(kind)
    plain: Any = cases.reference(case)
    networks = {"encoder": plain.encoder, "generator": plain.generator}
    found = [(network, plain.averages[name]) for name, network in networks.items()]
    before = [(tensors.vector(network), tensors.vector(average)) for network, average in found]
    plain.train_iteration(case.pixels(channels_last=False).permute(0, 3, 1, 2))
    for (network, average), (old, old_average) in zip(found, before, strict=True):
        assert torch.isfinite(tensors.vector(network)).all()
        assert not torch.equal(tensors.vector(network), old) and not torch.equal(tensors.vector(average), old_average)


@KINDS
def test_the_reference_needs_more_operations_than_our_form_and_is_timed_beside_it(kind: str) -> None:
    chosen = [modes.REFERENCE, modes.Mode(), modes.Mode(lazy_r1=True)]
    plain, ours = timing.measure(case_of(kind), chosen, machine.describe("cpu", sizes=(16,)), rounds=1)
    assert (plain.mode, ours.mode) == (modes.REFERENCE, modes.Mode())
    assert plain.speedup == 1.0 and ours.speedup is not None
    assert plain.own_flops > ours.own_flops == flops.count_iteration(cases.phases(case_of(kind), modes.Mode()))


@pytest.mark.parametrize("kind", [*METHODS, "style_soft_intro_vae"])
@pytest.mark.parametrize("changes", [{"blend": 0.5}, {"final_resolution": 32}])
def test_a_level_of_a_growing_vae_is_timed_without_a_reference(kind: str, changes: dict[str, Any]) -> None:
    case = case_of(kind, **({"final_resolution": 32} | changes))
    assert cases.applicable(case, [modes.REFERENCE, modes.Mode()]) == (modes.Mode(),)
    (phase,) = cases.phases(case, modes.Mode())
    metrics: Any = phase.run()
    assert torch.isfinite(metrics["generator/kl_sample"])
