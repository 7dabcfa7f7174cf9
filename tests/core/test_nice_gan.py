"""NICE-GAN: the networks that each step moves, its losses, and its training against the official code's order."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core import sync
from alae_core.algorithm import Batch, SamplingError
from alae_core.algorithms import nice_gan
from alae_core.engine import Engine, Metrics
from alae_core.images import to_float
from alae_core.networks.nice_gan import follow_spectral_norms
from alae_core.optim import AdamConfig
from alae_core.schedule import Level, ProgressiveSchedule
from alae_core.state import TrainState
from tests.support.ranks import Pair
from tests.support.tensors import differing, distance, float64, networks_of

pytestmark = pytest.mark.slow

COUNT, SIZE, LR, EPS = 4, 48, 1e-3, 1e-4
# An epsilon as large as the gradients, so that Adam's first steps depend on their lengths, not only on their signs.
ADAM = AdamConfig(beta1=0.5, beta2=0.999, eps=EPS, weight_decay=1e-4)
SCHEDULE = ProgressiveSchedule(resolutions=(SIZE,), stable_kimg=(1.0,), batch_size=(COUNT,), lr=(LR,))
SMALL = nice_gan.Config(resolution=SIZE, base_channels=2, residual_blocks=1, discriminator_layers=6)
WITH_IDENTITY = replace(SMALL, loss=nice_gan.LossConfig(identity_weight=5.0))
DISCRIMINATORS = ("encoder_a", "classifiers_a", "encoder_b", "classifiers_b")
GENERATORS = ("generator_a", "generator_b")


@pytest.fixture(autouse=True)
def _in_double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    with float64():
        yield


def pixels(nimg: int) -> tuple[Tensor, ...]:
    """This rank's random images of both domains."""
    share = COUNT // sync.world_size()
    rows = slice(sync.rank() * share, (sync.rank() + 1) * share)
    generator = torch.Generator().manual_seed(nimg)
    shape = (COUNT, SIZE, SIZE, 3)
    return tuple(torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)[rows] for _ in range(2))


def fresh(config: nice_gan.Config = SMALL, *, attention: float = 0.3) -> TrainState:
    """A new state whose attention is on, so that every parameter has effect."""
    state = TrainState.build(config, 0, ADAM)
    with torch.no_grad():
        for name in ("encoder_a", "encoder_b"):
            state.algorithm.networks[name].gamma.fill_(attention)  # type: ignore[operator, union-attr]
    return state


def trained(state: TrainState, iterations: int, **options: Any) -> list[Metrics]:
    engine = Engine(schedule=SCHEDULE, **options)
    return [engine.train_iteration(state, pixels(state.nimg)) for _ in range(iterations)]


def batch(*shape: int) -> Batch:
    height, width = shape or (SIZE, SIZE)
    generator = torch.Generator().manual_seed(1)
    images = tuple(torch.rand(COUNT, 3, height, width, generator=generator) * 2 - 1 for _ in range(2))
    level = Level(index=0, resolution=SIZE, blend=1.0, batch_size=COUNT, lr=LR)
    return Batch(images=images, level=level, nimg=0, seed=0, rows=slice(0, COUNT), update="test")


def terms_of(algorithm: Any, name: str, of: Batch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = next(u for u in algorithm.updates(0) if u.name == name).loss(of)
    return found


# The losses.


def logits_of(networks: Any, images: Tensor, domain: str) -> list[Tensor]:
    code, logit = networks[f"encoder_{domain}"](images)
    return [logit, *networks[f"classifiers_{domain}"](code)]


def test_the_max_step_s_terms_are_lsgan_s_of_three_classifiers_summed() -> None:
    algorithm, of = fresh().algorithm, batch()
    networks, (a, b) = algorithm.networks, of.images
    terms = terms_of(algorithm, "discriminator", of)
    assert terms.keys() == {"real_a", "fake_a", "real_b", "fake_b"}
    for name, real, source in (("a", a, b), ("b", b, a)):
        fake = networks[f"generator_{name}"](networks["encoder_b" if name == "a" else "encoder_a"](source)[0])
        for term, images, target in (("real", real, 1.0), ("fake", fake, 0.0)):
            expected = sum(F.mse_loss(x, torch.full_like(x, target)) for x in logits_of(networks, images, name))
            torch.testing.assert_close(terms[f"{term}_{name}"].mean(), expected)


def test_the_min_step_s_terms_are_the_published_ones_with_the_published_weights() -> None:
    algorithm, of = fresh(WITH_IDENTITY).algorithm, batch()
    networks, (a, b) = algorithm.networks, of.images
    code = {name: networks[f"encoder_{name}"](images)[0] for name, images in zip("ab", of.images, strict=True)}
    terms = terms_of(algorithm, "generator", of)
    expected: dict[str, Tensor] = {}
    for x, y, real_x, real_y in (("a", "b", a, b), ("b", "a", b, a)):
        fake = networks[f"generator_{y}"](code[x])
        logits = logits_of(networks, fake, y)
        expected[f"adversarial_{y}"] = sum((F.mse_loss(v, torch.ones_like(v)) for v in logits), torch.zeros(()))
        again = networks[f"generator_{x}"](networks[f"encoder_{y}"](fake)[0])
        expected[f"cycle_{x}"] = F.l1_loss(again, real_x)
        expected[f"reconstruction_{x}"] = F.l1_loss(networks[f"generator_{x}"](code[x]), real_x)
        # This differs from the reconstruction: the other domain's encoder has encoded the image.
        expected[f"identity_{y}"] = F.l1_loss(networks[f"generator_{y}"](networks[f"encoder_{x}"](real_y)[0]), real_y)
        expected |= {f"moved_{y}": F.l1_loss(fake, real_x), f"contrast_{y}": fake.flatten(1).std(1).mean()}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].mean(), value)
    weights = {"adversarial": 1.0, "cycle": 10.0, "reconstruction": 10.0, "identity": 5.0, "moved": 0, "contrast": 0}
    found = next(u for u in algorithm.updates(0) if u.name == "generator").weights_at(of.level)
    assert found == {f"{name}_{domain}": weight for name, weight in weights.items() for domain in "ab"}


def test_without_a_weight_there_is_no_identity_term_to_compute() -> None:
    algorithm = fresh().algorithm
    (weights,) = (u.weights for u in algorithm.updates(0) if u.name == "generator")
    terms = terms_of(algorithm, "generator", batch())
    assert terms.keys() == weights.keys() and not any("identity" in name for name in terms)


# Decoupled training.


@pytest.mark.parametrize(
    ("name", "moving", "still"),
    [("discriminator", DISCRIMINATORS, GENERATORS), ("generator", GENERATORS, DISCRIMINATORS)],
)
def test_each_step_moves_every_parameter_of_its_networks_and_not_a_bit_of_the_others(
    name: str, moving: tuple[str, ...], still: tuple[str, ...]
) -> None:
    state = fresh(WITH_IDENTITY)
    algorithm: Any = state.algorithm
    updates = [u for u in algorithm.updates(0) if u.name == name]
    # `observe` is left out, because it would move the spectral norms' singular vectors.
    algorithm.updates, algorithm.observe = lambda nimg: updates, lambda batch, terms: None
    before = networks_of(state)
    trained(state, 1)
    after = networks_of(state)
    for role in still:
        assert not differing(before[role], after[role])
    for role in moving:
        # An encoder's parameters include the attention's gamma.
        named = {f"{key}." for key, _ in algorithm.networks[role].named_parameters()}
        assert named == set(differing(before[role], after[role]))


def test_in_the_min_step_gradients_pass_through_frozen_encoders_to_the_first_of_two_translations() -> None:
    algorithm = fresh().algorithm
    for role in DISCRIMINATORS:
        algorithm.networks[role].requires_grad_(False)
    terms = terms_of(algorithm, "generator", batch())
    # A cycle of b passes through generator_a, encoder_a and generator_b.
    for term in ("cycle_b", "adversarial_a"):
        parameters = list(algorithm.networks["generator_a"].parameters())
        found = torch.autograd.grad(terms[term].sum(), parameters, retain_graph=True)
        assert all(gradient.any() for gradient in found)
    assert not any(p.grad is not None for role in DISCRIMINATORS for p in algorithm.networks[role].parameters())


def test_in_the_max_step_an_encoder_gets_no_gradient_by_what_is_made_of_its_codes() -> None:
    algorithm = fresh().algorithm
    terms = terms_of(algorithm, "discriminator", batch())
    own, other = (list(algorithm.networks[f"encoder_{name}"].parameters()) for name in "ab")
    fake = terms["fake_a"].sum()
    assert all(g is not None for g in torch.autograd.grad(fake, own, retain_graph=True))
    assert not any(g is not None for g in torch.autograd.grad(fake, other, retain_graph=True, allow_unused=True))
    generators = [p for role in GENERATORS for p in algorithm.networks[role].parameters()]
    assert not any(g is not None for g in torch.autograd.grad(fake, generators, allow_unused=True))


def official_iteration(networks: Any, adams: dict[str, Any], real: tuple[Tensor, ...], *, old_codes: bool) -> None:
    """The official order: the discriminators' step on detached fakes, new codes, and the generators' step.

    `old_codes` keeps the codes of the first step instead.
    """
    e_a, e_b, c_a, c_b = (networks[f"{role}_{name}"] for role in ("encoder", "classifiers") for name in "ab")
    g_a, g_b = networks["generator_a"], networks["generator_b"]
    a, b = real

    def ratings(encoder: Any, classifiers: Any, images: Tensor, target: float) -> tuple[Any, Tensor]:
        code, logit = encoder(images)
        return sum(((x - target) ** 2).mean() for x in (logit, *classifiers(code))), code

    def step(adam: Any, loss: Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()

    z_a, z_b = e_a(a)[0], e_b(b)[0]
    fake_a, fake_b = g_a(z_b).detach(), g_b(z_a).detach()
    pairs = ((e_a, c_a, a, fake_a), (e_b, c_b, b, fake_b))
    step(adams["D"], sum(ratings(e, c, x, 1.0)[0] + ratings(e, c, fake, 0.0)[0] for e, c, x, fake in pairs))  # type: ignore[arg-type]
    z_a, z_b = (z_a.detach(), z_b.detach()) if old_codes else (e_a(a)[0], e_b(b)[0])
    adversarial_a, z_fake_a = ratings(e_a, c_a, g_a(z_b), 1.0)
    adversarial_b, z_fake_b = ratings(e_b, c_b, g_b(z_a), 1.0)
    cycle = (g_a(z_fake_b) - a).abs().mean() + (g_b(z_fake_a) - b).abs().mean()
    reconstruction = (g_a(z_a) - a).abs().mean() + (g_b(z_b) - b).abs().mean()
    step(adams["G"], adversarial_a + adversarial_b + 10 * cycle + 10 * reconstruction)
    for role in DISCRIMINATORS:
        follow_spectral_norms(networks[role])


def distance_after(iterations: int, *, old_codes: bool = False) -> float:
    """The largest difference of a weight between the engine's training and the official one, from equal weights."""
    state = fresh()
    networks: Any = nn.ModuleDict(copy.deepcopy(state.algorithm.networks)).requires_grad_(True)
    settings: Any = {"lr": LR, "betas": (0.5, 0.999), "eps": EPS, "weight_decay": 1e-4}
    adams = {
        name: torch.optim.Adam([p for role in roles for p in networks[role].parameters()], **settings)
        for name, roles in (("D", DISCRIMINATORS), ("G", GENERATORS))
    }
    for _ in range(iterations):
        real = tuple(to_float(domain).double() for domain in pixels(state.nimg))
        official_iteration(networks, adams, real, old_codes=old_codes)
        trained(state, 1)
    found = {name: network.state_dict() for name, network in state.algorithm.networks.items()}
    return distance(found, {name: networks[name].state_dict() for name in found})


def test_training_is_the_official_code_s_with_its_two_optimisers() -> None:
    assert distance_after(3) < 1e-9


def test_the_comparison_detects_codes_made_before_instead_of_after_the_encoders_step() -> None:
    assert distance_after(1, old_codes=True) > 1e-6


# The engine's guarantees for every algorithm.


def test_micro_batches_give_what_the_whole_batch_gives() -> None:
    whole, parts = fresh(), fresh()
    trained(whole, 2)
    trained(parts, 2, microbatch=(1,))
    assert distance(networks_of(whole), networks_of(parts)) < 1e-9


def test_a_resume_ends_bit_identical_singular_vectors_included() -> None:
    straight = fresh()
    trained(straight, 1)
    saved = copy.deepcopy(straight.state_dict())
    trained(straight, 2)
    resumed = TrainState.build(SMALL, 1, ADAM)
    resumed.load_state_dict(saved)
    trained(resumed, 2)
    assert not differing(straight.state_dict(), resumed.state_dict())
    vectors = [name for name in differing(saved["networks"], resumed.state_dict()["networks"]) if "norm.left" in name]
    assert vectors


def test_bfloat16_gives_finite_float32_terms_and_leaves_weights_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr("alae_core.images.to_float", to_float)
    state = fresh(WITH_IDENTITY)
    for metrics in trained(state, 2, precision="bf16"):
        assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in metrics.values())
    tensors = [t for network in networks_of(state).values() for t in network.values()]
    assert {t.dtype for t in tensors} == {torch.float32}


def weights_trained_on_this_rank() -> Any:
    with float64():
        state = fresh()
        trained(state, 2)
        return {name: {k: t.numpy() for k, t in network.items()} for name, network in networks_of(state).items()}


@pytest.mark.distributed
def test_two_ranks_train_what_one_trains_and_have_the_same_singular_vectors_to_the_bit(pair: Pair) -> None:
    def tensors(found: Any) -> Any:
        return {name: {k: torch.from_numpy(t) for k, t in network.items()} for name, network in found.items()}

    alone = tensors(weights_trained_on_this_rank())
    first, second = (tensors(found) for found in pair(weights_trained_on_this_rank))
    assert not differing(first, second)
    assert distance(alone, first) < 1e-9


# Outputs and refusals.


def test_a_translation_is_the_source_s_code_by_the_target_s_generator_and_a_reconstruction_by_its_own() -> None:
    algorithm, of = fresh().algorithm, batch()
    networks: Any = algorithm.networks
    code_a, code_b = networks["encoder_a"](of.images[0])[0], networks["encoder_b"](of.images[1])[0]
    translate: Any = algorithm.translate  # type: ignore[attr-defined]
    assert torch.equal(translate(networks, of, 1), networks["generator_b"](code_a))
    assert torch.equal(translate(networks, of, 0), networks["generator_a"](code_b))
    assert torch.equal(algorithm.reconstruct(networks, of), networks["generator_a"](code_a))  # type: ignore[arg-type]
    assert algorithm.mix(networks, of, of) is None
    assert set(algorithm.averaged) == set(networks) - {"classifiers_a", "classifiers_b"}


def test_images_of_any_shape_in_fours_are_translated_and_have_heat_maps_of_a_quarter_of_their_sides() -> None:
    algorithm: Any = fresh().algorithm
    for height, width in ((8, 8), (12, 20), (64, 36)):
        of = batch(height, width)
        translated = algorithm.translate(algorithm.networks, of, 1)
        assert translated.shape == (COUNT, 3, height, width) and translated.abs().max() < 1
        heat = algorithm.attention(algorithm.networks, of.images[1], 1)
        code, _ = algorithm.networks["encoder_b"](of.images[1])
        assert heat.shape == (COUNT, height // 4, width // 4)
        torch.testing.assert_close(heat, code.sum(1))


@pytest.mark.parametrize("shape", [(8, 10), (13, 8), (4, 8)])
def test_sides_that_the_networks_cannot_take_are_refused(shape: tuple[int, int]) -> None:
    algorithm: Any = fresh().algorithm
    with pytest.raises(ValueError, match=rf"^images of {shape[0]}x{shape[1]} px .* multiples of 4, 8 or more$"):
        algorithm.translate(algorithm.networks, batch(*shape), 1)


def test_the_full_form_translates_images_of_its_resolution_and_refuses_others() -> None:
    algorithm: Any = fresh(replace(SMALL, form="full")).algorithm
    assert algorithm.translate(algorithm.networks, batch(), 0).shape == (COUNT, 3, SIZE, SIZE)
    with pytest.raises(
        ValueError, match=r"^images of 64x48 px do not fit algorithm\.form=full, which takes 48x48 alone"
    ):
        algorithm.translate(algorithm.networks, batch(64, 48), 0)


def test_unknown_domains_styles_and_images_of_noise_are_refused() -> None:
    algorithm, of = fresh().algorithm, batch()
    translate: Any = algorithm.translate  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="to=2 is no domain; give 0 or 1"):
        translate(algorithm.networks, of, 2)
    with pytest.raises(ValueError, match="leave out the style"):
        translate(algorithm.networks, of, 1, torch.zeros(COUNT, 8))
    with pytest.raises(SamplingError, match="makes no image of noise; give images of the other domain"):
        algorithm.generate(algorithm.networks, of)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"discriminator_layers": 5}, "discriminator_layers=5 leaves the classifiers too few; give 6 or more"),
        ({"resolution": 44}, "resolution=44 with .*discriminator_layers=6; give a multiple of 4, 48 or more"),
        ({"resolution": 50}, "resolution=50 .*; give a multiple of 4"),
        ({"discriminator_layers": 7}, "resolution=48 with .*; give a multiple of 4, 96 or more"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^algorithm\.{sentence}"):
        replace(SMALL, **options)
