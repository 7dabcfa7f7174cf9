"""MUNIT: its update compared with the official one, the networks that each loss trains, translation, and errors."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from alae_core import losses, sync
from alae_core.algorithm import Batch
from alae_core.algorithms import munit
from alae_core.images import to_float
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import DataConfig, Experiment, TrainingConfig
from tests.support import tensors, tiny
from tests.support.ranks import Pair

pytestmark = pytest.mark.slow

COUNT, SIZE, LR = 4, 16, 1e-3
# An epsilon of the gradients' size, so that Adam's first steps depend on their sizes and not only on their signs.
ADAM = AdamConfig(beta1=0.5, beta2=0.999, eps=1e-2, weight_decay=1e-2)
CONFIG = munit.Config(
    resolution=SIZE,
    latent=3,
    base_channels=2,
    hidden=4,
    residual_blocks=1,
    scales=2,
    loss=munit.LossConfig(gan_w=0.7, recon_x_w=3.0, recon_s_w=1.3, recon_c_w=0.9, recon_x_cyc_w=2.0),
)
EXPERIMENT = Experiment(
    name="munit",
    algorithm=CONFIG,
    schedule=ProgressiveSchedule(resolutions=(SIZE,), stable_kimg=(1.0,), batch_size=(COUNT,), lr=(LR,)),
    data=DataConfig(path="none"),
    training=TrainingConfig(optimizer=ADAM),
)
PLAIN = {"flip": False, "crop": 0.0}


@pytest.fixture(autouse=True)
def _in_double_precision(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.manual_seed(0)
    if "bf16" in request.node.name:
        yield
        return
    with tensors.float64():
        yield


def batch(update: str = "test", images: tuple[Tensor, ...] | None = None, start: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    shown = images or tuple(torch.rand(2, COUNT, 3, SIZE, SIZE, generator=generator) * 2 - 1)
    rows = slice(start, start + len(shown[0]))
    level = EXPERIMENT.schedule.level_at(0)
    return Batch(images=shown, level=level, nimg=0, seed=0, rows=rows, update=update)


def built(**loss: float) -> munit.MUNIT:
    return replace(CONFIG, loss=replace(CONFIG.loss, **loss)).build()


def terms_of(algorithm: munit.MUNIT, name: str) -> dict[str, Tensor]:
    return next(u for u in algorithm.updates(0) if u.name == name).loss(batch(name))


def reached(value: Tensor, algorithm: munit.MUNIT) -> set[str]:
    """Networks for which a term has a gradient."""
    found = set()
    for role, network in algorithm.networks.items():
        gradients = torch.autograd.grad(value, list(network.parameters()), retain_graph=True, allow_unused=True)
        if any(gradient is not None and gradient.any() for gradient in gradients):
            found.add(role)
    return found


# The losses.


def test_the_gan_s_losses_are_means_over_a_map_without_a_half() -> None:
    values = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    assert losses.lsgan_real(values).tolist() == [(1 + 0 + 1 + 4) / 4, 0.0]
    assert losses.lsgan_fake(values).tolist() == [(0 + 1 + 4 + 9) / 4, 1.0]


def test_the_absolute_error_is_a_mean_over_all_of_an_image_or_code() -> None:
    found = losses.mean_absolute(torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 1.0]]))
    assert found.tolist() == [2.5, 0.5]
    half = torch.ones(2, 3, 4, 4).bfloat16()
    results = (losses.mean_absolute(half, half), losses.lsgan_real(half), losses.lsgan_fake(half))
    assert {result.dtype for result in results} == {torch.float32}


def test_an_undecided_discriminator_costs_a_half_at_each_scale_and_its_generator_a_quarter() -> None:
    algorithm = built()
    for domain in munit.DOMAINS:
        for critic in algorithm.networks[f"discriminator_{domain}"].scales:  # type: ignore[union-attr]
            torch.nn.init.zeros_(critic[-1].weight)
            torch.nn.init.constant_(critic[-1].bias, 0.5)
    of_critics, of_coders = terms_of(algorithm, "discriminator"), terms_of(algorithm, "generator")
    torch.testing.assert_close(of_critics["fake_a"] + of_critics["real_a"], torch.full((COUNT,), 2 * 0.5))
    torch.testing.assert_close(of_coders["gan_b"], torch.full((COUNT,), 2 * 0.25))


# The update, compared with a manual official one: one Adam for both encoders and generators, one for both discriminators.


def official_iteration(networks: Any, adams: list[Any], real: Any, drawn: Any, loss: Any, stale: bool) -> None:
    content = [networks[f"content_encoder_{d}"] for d in "ab"]
    style = [networks[f"style_encoder_{d}"] for d in "ab"]
    generate = [networks[f"generator_{d}"] for d in "ab"]
    rate = [networks[f"discriminator_{d}"] for d in "ab"]
    x_a, x_b = real
    of_critics, of_coders = adams

    def crossed(s_a: Tensor, s_b: Tensor) -> tuple[Tensor, Tensor]:
        return generate[0](content[1](x_b), s_a), generate[1](content[0](x_a), s_b)

    def l1(x: Tensor, y: Tensor) -> Tensor:
        return torch.mean(torch.abs(x - y))

    x_ba, x_ab = crossed(*drawn[0])
    total = torch.zeros(())
    for critic, fake, image in ((rate[0], x_ba, x_a), (rate[1], x_ab, x_b)):
        for on_fake, on_real in zip(critic(fake.detach()), critic(image), strict=True):
            total = total + torch.mean(on_fake**2) + torch.mean((on_real - 1) ** 2)
    of_critics.zero_grad()
    (loss.gan_w * total).backward()
    of_critics.step()

    s_a, s_b = drawn[0] if stale else drawn[1]
    c_a, c_b, own_a, own_b = content[0](x_a), content[1](x_b), style[0](x_a), style[1](x_b)
    x_ba, x_ab = crossed(s_a, s_b)
    again_b, again_a = content[0](x_ba), content[1](x_ab)
    total = loss.recon_x_w * (l1(generate[0](c_a, own_a), x_a) + l1(generate[1](c_b, own_b), x_b))
    total = total + loss.recon_s_w * (l1(style[0](x_ba), s_a) + l1(style[1](x_ab), s_b))
    total = total + loss.recon_c_w * (l1(again_a, c_a) + l1(again_b, c_b))
    total = total + loss.recon_x_cyc_w * (l1(generate[0](again_a, own_a), x_a) + l1(generate[1](again_b, own_b), x_b))
    for critic, fake in ((rate[0], x_ba), (rate[1], x_ab)):
        for values in critic(fake):
            total = total + loss.gan_w * torch.mean((values - 1) ** 2)
    of_coders.zero_grad()
    total.backward()
    of_coders.step()


def distance_after(iterations: int, stale: bool = False, decay: float = ADAM.weight_decay) -> float:
    """Largest difference of a weight between the engine's training and the official one from the same initial weights."""
    state, other = tiny.build(EXPERIMENT), tiny.build(EXPERIMENT)
    networks = other.algorithm.networks
    options = {"lr": LR, "betas": (0.5, 0.999), "eps": ADAM.eps, "weight_decay": decay}
    critics = [p for role in networks if role.startswith("discriminator") for p in networks[role].parameters()]
    coders = [p for role in networks if not role.startswith("discriminator") for p in networks[role].parameters()]
    adams = [torch.optim.Adam(critics, **options), torch.optim.Adam(coders, **options)]  # type: ignore[arg-type]
    for _ in range(iterations):
        nimg, level = state.nimg, EXPERIMENT.schedule.level_at(state.nimg)
        real = [to_float(domain).double() for domain in tiny.pixels(EXPERIMENT, nimg)]
        drawn = []
        for name in ("discriminator", "generator"):
            of = Batch(images=(real[0],), level=level, nimg=nimg, seed=0, rows=slice(0, COUNT), update=name)
            drawn.append([of.noise(f"style_{domain}", CONFIG.latent) for domain in "ab"])
        official_iteration(networks, adams, real, drawn, CONFIG.loss, stale)
        tiny.train(state, EXPERIMENT, until=nimg + 1, **PLAIN)
    return tensors.distance(tensors.networks_of(state), tensors.networks_of(other))


def test_the_two_updates_are_the_official_one() -> None:
    assert distance_after(3) < 1e-9


def test_the_comparison_tells_new_styles_from_those_of_the_discriminator_and_a_decay_of_weights_from_none() -> None:
    assert distance_after(1, stale=True) > 1e-7
    assert distance_after(1, decay=0.0) > 1e-7


# Networks that the losses train.


def test_each_loss_reaches_the_networks_it_is_of() -> None:
    algorithm = built()
    terms = {name: value.sum() for name, value in terms_of(algorithm, "generator").items()}
    a_to_b = {"content_encoder_a", "generator_b"}
    assert reached(terms["recon_x_a"], algorithm) == {"content_encoder_a", "style_encoder_a", "generator_a"}
    assert reached(terms["recon_s_b"], algorithm) == a_to_b | {"style_encoder_b"}
    assert reached(terms["recon_c_a"], algorithm) == a_to_b | {"content_encoder_b"}
    assert reached(terms["gan_b"], algorithm) == a_to_b | {"discriminator_b"}
    back = {"content_encoder_b", "style_encoder_a", "generator_a"}
    assert reached(terms["recon_x_cyc_a"], algorithm) == a_to_b | back


def test_the_target_of_the_content_loss_is_not_detached() -> None:
    algorithm = built()
    content = terms_of(algorithm, "generator")["recon_c_a"].sum()
    batch_a = batch("generator").images[0]
    target = algorithm.content_of(algorithm.networks, batch_a, 0)
    fake = algorithm.image_of(algorithm.networks, target, batch("generator").noise("style_b", 3), 1)
    detached = (algorithm.content_of(algorithm.networks, fake, 1) - target.detach()).abs().flatten(1).mean(1).sum()
    assert torch.equal(detached, content)
    weights = list(algorithm.networks["content_encoder_a"].parameters())
    of_both, of_one = (torch.autograd.grad(value, weights)[0] for value in (content, detached))
    assert not torch.allclose(of_both, of_one)


def test_the_discriminators_see_fakes_without_a_graph() -> None:
    algorithm = built()
    terms = terms_of(algorithm, "discriminator")
    assert reached(terms["fake_a"].sum() + terms["real_a"].sum(), algorithm) == {"discriminator_a"}
    assert terms.keys() == {"fake_a", "real_a", "fake_b", "real_b"}


def test_a_cycle_is_decoded_only_where_it_weighs_something() -> None:
    for weight, passes in ((0.0, 1), (1.0, 2)):
        algorithm, seen = built(recon_x_cyc_w=weight), list[str]()
        algorithm.networks["generator_a"].register_forward_pre_hook(lambda *_, seen=seen: seen.append("a"))
        terms, update = terms_of(algorithm, "generator"), algorithm.updates(0)[1]
        assert len(seen) == passes
        assert ("recon_x_cyc_a" in terms) is (weight > 0)
        assert update.weights.keys() == terms.keys()


@pytest.mark.parametrize("number", [0, 1])
def test_each_update_moves_the_networks_it_trains_and_not_a_bit_of_the_others(number: int) -> None:
    state = tiny.build(EXPERIMENT)
    algorithm: Any = state.algorithm
    update = algorithm.updates(0)[number]
    algorithm.updates = lambda nimg: (update,)
    before = tensors.networks_of(state)
    tiny.train(state, EXPERIMENT, until=1)
    after = tensors.networks_of(state)
    assert {role for role in before if tensors.differing(before[role], after[role])} == set(update.trains)
    assert {r for r, n in algorithm.networks.items() if any(p.grad is not None for p in n.parameters())} == set(
        update.trains
    )


# Training: exact resumes, and independence of ranks and micro-batches.


def trained_on_this_rank(averaging: bool) -> tuple[Any, list[dict[str, float]]]:
    original = sync.average_gradients
    if not averaging:
        sync.average_gradients = lambda parameters: None
    try:
        with tensors.float64():
            state = tiny.build(EXPERIMENT)
            metrics = tiny.train(state, EXPERIMENT, until=2 * COUNT)
    finally:
        sync.average_gradients = original
    weights = [t.reshape(-1) for n in state.algorithm.networks.values() for t in n.state_dict().values()]
    return torch.cat(weights).numpy(), [{key: float(value) for key, value in found.items()} for found in metrics]


@pytest.mark.distributed
def test_two_ranks_train_what_one_rank_trains_and_without_averaging_something_else(pair: Pair) -> None:
    weights, metrics = trained_on_this_rank(True)
    ranks = pair(trained_on_this_rank, True)
    for found, _ in ranks:
        np.testing.assert_allclose(found, weights, rtol=0, atol=1e-9)
    for own, *shares in zip(metrics, *(shares for _, shares in ranks), strict=True):
        assert {key: np.mean([share[key] for share in shares]) for key in own} == pytest.approx(own, abs=1e-9)
    apart = pair(trained_on_this_rank, False)
    assert np.abs(apart[0][0] - weights).max() > 1e-6


@pytest.mark.parametrize("size", [2, 3])
def test_micro_batches_give_what_the_whole_batch_gives(size: int) -> None:
    whole, split = tiny.build(EXPERIMENT), tiny.build(EXPERIMENT)
    expected = tiny.train(whole, EXPERIMENT, until=2 * COUNT)
    found = tiny.train(split, EXPERIMENT, until=2 * COUNT, microbatch=(size,))
    assert tensors.distance(tensors.networks_of(split), tensors.networks_of(whole)) < 1e-9
    assert tensors.distance(found, expected) < 1e-9


def test_a_resume_ends_bit_identical_to_the_uninterrupted_run() -> None:
    state = tiny.build(EXPERIMENT)
    tiny.train(state, EXPERIMENT, until=2 * COUNT)
    again = tiny.restored(EXPERIMENT, tiny.saved(state))
    for run in (state, again):
        tiny.train(run, EXPERIMENT, until=4 * COUNT)
    assert not tensors.differing(again.state_dict(), state.state_dict())


def largest_gradient(precision: str, constant: tuple[int, ...] = ()) -> float:
    """Terms of two iterations in which some domains have images of one colour; all terms and tensors must be finite."""
    # The default depth, because a gradient overflows only in deep networks.
    deep = replace(EXPERIMENT, algorithm=replace(CONFIG, residual_blocks=munit.Config().residual_blocks))
    state, engine = tiny.build(deep), tiny.engine(deep, precision=precision)
    for _ in range(2):
        pixels = list(tiny.pixels(deep, state.nimg))
        for domain in constant:
            pixels[domain] = torch.full_like(pixels[domain], 255)
        metrics = engine.train_iteration(state, tuple(pixels))
        assert all(torch.isfinite(value) for value in metrics.values())
    found = [v for v in tensors.flat(state.state_dict()).values() if isinstance(v, Tensor)]
    assert all(torch.isfinite(tensor).all() and tensor.dtype == torch.float32 for tensor in found)
    parameters = (p for network in state.algorithm.networks.values() for p in network.parameters())
    return max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)


@pytest.mark.parametrize("constant", [(0,), (0, 1)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_terms_are_finite_also_in_bf16_and_images_of_one_colour_let_no_gradient_grow(
    precision: str, constant: tuple[int, ...]
) -> None:
    assert largest_gradient(precision, constant) < 100 * largest_gradient(precision)


def test_an_experiment_of_the_default_sizes_shrinks_to_eight_pixels_and_trains() -> None:
    schedule = replace(EXPERIMENT.schedule, resolutions=(256,))
    shrunk = replace(EXPERIMENT, algorithm=munit.Config(), schedule=schedule).tiny()
    (metrics,) = tiny.train(tiny.build(shrunk), shrunk, until=1)
    assert shrunk.algorithm.resolution == 8
    assert all(torch.isfinite(value) for value in metrics.values())
