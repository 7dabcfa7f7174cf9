"""The benchmark of MUNIT and NICE-GAN: the plain iteration and ours give the same weights."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithm import Batch
from alae_core.engine import Engine, Metrics
from alae_core.state import TrainState
from benchmarks.step import cases, flops, machine, modes, timing
from benchmarks.step.reference_translator import TranslatorReference, reference_of, tensors
from tests.support.tensors import float64, vector

pytestmark = pytest.mark.slow

BATCH = 2
ITERATIONS = 2
SIZES = {"munit": 16, "nice_gan": 64}
KINDS = pytest.mark.parametrize("kind", cases.TRANSLATORS)


@pytest.fixture
def _double() -> Iterator[None]:
    with float64():
        yield


def case_of(kind: str) -> cases.Case:
    side = SIZES[kind]
    return cases.Case(algorithm=kind, resolution=side, final_resolution=side, batch=BATCH, base_channels=4, channels=2)


def config_of(case: cases.Case, **changes: Any) -> Any:
    config = case.config()
    small = {"residual_blocks": 2} | ({"hidden": 6, "scales": 2} if case.algorithm == "munit" else {})
    return replace(config, **small, loss=replace(config.loss, **changes))


class Pair:
    """Our networks and the reference's with their weights, and the same images and draws for both."""

    def __init__(self, kind: str, **losses: Any) -> None:
        self.case = case_of(kind)
        self.config = config_of(self.case, **losses)
        self.state = TrainState.build(self.config, 0, self.case.adam)
        self.ours: Any = self.state.algorithm.networks
        draws = torch.Generator().manual_seed(1)
        for network in self.ours.values():
            for parameter in network.parameters():
                # Biases, blends and gamma too: as they start, they would hide an error.
                parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=draws))
            for layer in network.modules():
                if hasattr(layer, "follow") and hasattr(layer, "weight"):
                    layer.follow()
        fresh, method = cases.TRANSLATORS[kind]
        self.theirs: TranslatorReference = method(
            networks=reference_of(fresh, self.config, self.ours),
            averages={},
            config=self.config,
            lr=self.case.lr,
            adam=self.case.adam,
            draws=torch.Generator(),
        )

    def train(self) -> list[tuple[Metrics, dict[str, Tensor]]]:
        """Both, for some iterations; our terms and the reference's losses."""
        engine = Engine(schedule=self.case.schedule(), seed=0)
        self.state.nimg = self.case.nimg
        found = []
        for _ in range(ITERATIONS):
            pixels = self._pixels(self.state.nimg)
            batch = self.batch(pixels, self.state.nimg)
            losses = self.theirs.steps(batch.images, lambda update, name, b=batch: self.noise(b, update, name))
            # Ours follow once, after the steps; as in the code, in every pass, the result would depend on their number.
            for layer in self._norms():
                layer.follow()
            found.append((engine.train_iteration(self.state, pixels), losses))
        return found

    def batch(self, pixels: tuple[Tensor, ...], nimg: int) -> Batch:
        level = self.case.schedule().level_at(nimg)
        real = tuple(images.to_float(domain) for domain in pixels)
        return Batch(images=real, level=level, nimg=nimg, seed=0, rows=slice(0, BATCH))

    def noise(self, batch: Batch, update: str, name: str) -> Tensor:
        """Ours of an update, by its name."""
        return replace(batch, update=update).noise(name, self.config.latent)

    def follow_once(self) -> None:
        """Let the reference's norms follow as ours do."""
        for layer in self._norms():
            layer.every_pass = False

    def weighed(self, update: str, metrics: Metrics) -> Tensor:
        """Our terms of an update as one loss."""
        (weights,) = (u.weights for u in self.state.algorithm.updates(0) if u.name == update)
        named = {key.removeprefix(f"{update}/"): value for key, value in metrics.items() if key.startswith(update)}
        return torch.stack([weights.get(name, 1.0) * value for name, value in named.items()]).sum()

    def _norms(self) -> list[Any]:
        layers = [layer for network in self.theirs.networks.values() for layer in network.modules()]
        return [layer for layer in layers if hasattr(layer, "every_pass")]

    def _pixels(self, nimg: int) -> tuple[Tensor, ...]:
        side, draws = SIZES[self.case.algorithm], torch.Generator().manual_seed(nimg)
        shape = (BATCH, side, side, self.config.channels)
        return tuple(torch.randint(0, 256, shape, generator=draws, dtype=torch.uint8) for _ in range(2))


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        ("munit", {}),
        ("munit", {"recon_x_cyc_w": 3.0, "gan_w": 0.5, "recon_s_w": 2.0, "recon_c_w": 0.7}),
        ("nice_gan", {}),
        ("nice_gan", {"adv_weight": 2.0, "cycle_weight": 3.0, "recon_weight": 7.0}),
    ],
)
def test_iterations_of_the_reference_and_of_ours_give_the_same_losses_and_weights(
    _double: None, kind: str, losses: dict[str, Any]
) -> None:
    pair = Pair(kind, **losses)
    pair.follow_once()
    before = [other.detach().clone() for other, _ in tensors(pair.ours, pair.theirs.networks)]
    for metrics, found in pair.train():
        for update, loss in found.items():
            torch.testing.assert_close(loss, pair.weighed(update, metrics), rtol=1e-9, atol=0)
    for old, (other, ours) in zip(before, tensors(pair.ours, pair.theirs.networks), strict=True):
        moved = float((other - old).detach().abs().max())
        assert moved > 0 or other.numel() == 1, "what is compared has not moved"
        # Adam's first steps have the size of the rate whatever the gradient: its sign alone counts, down to eps.
        torch.testing.assert_close(other, ours, rtol=0, atol=1e-5 * moved)


def test_norms_that_follow_in_every_pass_as_the_code_s_do_are_the_one_difference(_double: None) -> None:
    pair = Pair("nice_gan")
    (metrics, losses), _ = pair.train()
    ours = pair.weighed("discriminator", metrics)
    assert not torch.isclose(losses["discriminator"], ours, rtol=1e-9, atol=0)
    torch.testing.assert_close(losses["discriminator"], ours, rtol=0.05, atol=0)


@KINDS
def test_every_parameter_and_buffer_of_the_reference_is_mapped_once(kind: str) -> None:
    pair = Pair(kind)
    networks = pair.theirs.networks
    own = [id(t) for net in networks.values() for t in (*net.parameters(), *net.buffers())]
    assert sorted(id(other) for other, _ in tensors(pair.ours, networks)) == sorted(own)


@KINDS
def test_an_iteration_of_the_reference_moves_all_networks_and_the_averages(kind: str) -> None:
    case = case_of(kind)
    plain: Any = cases.reference(case)
    found = [*plain.networks.values(), *plain.averages.values()]
    before = [vector(network) for network in found]
    plain.train_iteration(tuple(pixels.permute(0, 3, 1, 2) for pixels in case.domains(channels_last=False)))
    for network, old in zip(found, before, strict=True):
        assert torch.isfinite(vector(network)).all() and not torch.equal(vector(network), old)
    assert plain.averages.keys() == set(TrainState.build(case.config(), 0, case.adam).algorithm.averaged)


@KINDS
def test_the_reference_needs_more_operations_than_our_form_and_is_timed_beside_it(kind: str) -> None:
    chosen = [modes.REFERENCE, modes.Mode(), modes.Mode(lazy_r1=True)]
    plain, ours = timing.measure(case_of(kind), chosen, machine.describe("cpu", sizes=(16,)), rounds=1)
    assert (plain.mode, ours.mode) == (modes.REFERENCE, modes.Mode())
    assert plain.speedup == 1.0 and ours.speedup is not None
    assert plain.own_flops > ours.own_flops == flops.count_iteration(cases.phases(case_of(kind), modes.Mode()))


@KINDS
def test_both_domains_have_images_of_their_own_and_a_translator_has_one_level(kind: str) -> None:
    first, second = case_of(kind).domains(channels_last=True)
    assert first.shape == second.shape and not torch.equal(first, second)
    for changes in ({"blend": 0.5}, {"final_resolution": 128}):
        with pytest.raises(ValueError, match=f"^--algorithms: {kind} has one level; leave out --final-resolution and"):
            replace(case_of(kind), **changes)


def test_images_too_small_for_the_networks_are_refused_when_the_command_is_read() -> None:
    with pytest.raises(ValueError, match=r"algorithm\.resolution=32 with .*; give a multiple of 4, 48 or more$"):
        cases.Case(algorithm="nice_gan", resolution=32, final_resolution=32, batch=1)


def test_the_sizes_are_the_official_ones_but_for_a_layer_that_small_images_cannot_have() -> None:
    sizes = {"resolution": 256, "final_resolution": 256, "batch": 1}
    config: Any = cases.Case(algorithm="munit", **sizes).config()  # type: ignore[arg-type]
    assert config == type(config)()
    config = cases.Case(algorithm="nice_gan", **sizes).config()  # type: ignore[arg-type]
    assert config == type(config)()
    assert case_of("nice_gan").config().discriminator_layers == 6
