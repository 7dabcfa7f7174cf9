"""IntroVAE: invariants, warm-up, margin and refusals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import losses
from alae_core.algorithm import Batch, Sampling, SamplingError
from alae_core.algorithms import intro_vae
from alae_core.engine import Engine, Metrics, NonFiniteError
from alae_core.optim import AdamConfig
from alae_core.schedule import Level, ProgressiveSchedule
from alae_core.state import TrainState
from tests.support.ranks import Pair
from tests.support.tensors import differing, float64, networks_of

COUNT = 8
PLAYING = intro_vae.LossConfig(margin=(50.0,), warmup_kimg=(0.0,))
SMALL = intro_vae.Config(
    resolution=8, latent=6, base_channels=4, max_channels=8, first_resolution=4, group=4, loss=PLAYING
)
SCHEDULE = ProgressiveSchedule(
    resolutions=(4, 8), stable_kimg=(0.032,), fade_kimg=(0.016,), batch_size=(COUNT,), lr=(1e-3,)
)


@pytest.fixture(autouse=True)
def _in_double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    with float64():
        yield


def built(**changes: Any) -> intro_vae.IntroVAE:
    """A small IntroVAE; `changes` are options of the config or of its loss."""
    options = {name: changes.pop(name) for name in tuple(changes) if hasattr(PLAYING, name)}
    return replace(SMALL, loss=replace(PLAYING, **options), **changes).build()


def batch(resolution: int = 8, blend: float = 1.0, seen: int = 0, count: int = COUNT) -> Batch:
    index = resolution.bit_length() - 3
    level = Level(index=index, resolution=resolution, blend=blend, batch_size=count, lr=1e-3, seen=seen)
    images = torch.randn(count, 3, resolution, resolution, generator=torch.Generator().manual_seed(1))
    return Batch(images=(images,), level=level, nimg=seen, seed=0, rows=slice(0, count), update="test")


def terms_of(algorithm: Any, name: str, of: Batch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = next(u for u in algorithm.updates(0) if u.name == name).loss(of)
    return found


def weights_of(algorithm: Any, name: str, level: Level) -> dict[str, float]:
    found: dict[str, float] = next(u for u in algorithm.updates(0) if u.name == name).weights_at(level)
    return found


def gradients(value: Tensor, network: torch.nn.Module) -> list[Tensor]:
    """The gradients of `value` with respect to the parameters on which it depends."""
    found = torch.autograd.grad(value, list(network.parameters()), retain_graph=True, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def trained(config: Any, until: int, precision: Any = "fp32") -> tuple[TrainState, list[Metrics]]:
    state = TrainState.build(config, 0, AdamConfig(beta1=0.9, beta2=0.999))
    engine, metrics = Engine(schedule=SCHEDULE, precision=precision), []
    while state.nimg < until:
        size = SCHEDULE.level_at(state.nimg).resolution
        generator = torch.Generator().manual_seed(state.nimg)
        pixels = torch.randint(0, 256, (COUNT, size, size, 3), generator=generator, dtype=torch.uint8)
        metrics.append(engine.train_iteration(state, (pixels,)))
    return state, metrics


# The losses.


def test_the_divergence_is_one_number_of_nats_per_image_that_is_zero_for_the_prior_alone() -> None:
    mean, log_variance = torch.randn(5, 6), torch.randn(5, 6)
    found = losses.normal_kl(mean, log_variance)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(found, expected)
    assert found.shape == (5,) and (found > 0).all()
    assert torch.equal(losses.normal_kl(torch.zeros(2, 6), torch.zeros(2, 6)), torch.zeros(2))


def test_the_error_is_a_sum_over_an_image_of_pixels_in_0_to_1() -> None:
    black, white = -torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert losses.squared_error(black, white).tolist() == [48.0, 48.0]
    half = losses.squared_error(black.bfloat16(), white.bfloat16())
    assert half.dtype == torch.float32


def test_the_hinge_is_met_by_the_mean_of_a_group_and_then_has_no_gradient() -> None:
    values = torch.tensor([1.0, 9.0, 1.0, 3.0], requires_grad=True)
    hinge = losses.hinge_below(losses.group_means(values, 2), torch.tensor(4.0))
    assert hinge.tolist() == [0.0, 2.0]
    (gradient,) = torch.autograd.grad(hinge.sum(), values)
    assert gradient.tolist() == [0.0, 0.0, -0.5, -0.5]
    alone = losses.hinge_below(losses.group_means(values, 1), torch.tensor(4.0))
    assert alone.tolist() == [3.0, 0.0, 3.0, 1.0]
    with pytest.raises(ValueError, match="4 images do not divide into groups of 3"):
        losses.group_means(values, 3)


# The two updates.


def test_hinges_are_exactly_idle_where_the_groups_are_above_the_margin() -> None:
    algorithm = built(margin=(1e-9,))
    terms = terms_of(algorithm, "encoder", batch())
    hinges = terms["hinge_reconstruction"].sum() + terms["hinge_sample"].sum()
    assert not any(gradient.any() for gradient in gradients(hinges, algorithm.networks["encoder"]))
    assert terms["active_sample"].tolist() == terms["active_reconstruction"].tolist() == [0.0, 0.0]
    busy = terms_of(built(margin=(1e3,)), "encoder", batch())
    assert busy["active_sample"].tolist() == busy["active_reconstruction"].tolist() == [1.0, 1.0]


def test_hinges_push_the_encoder_and_never_the_generator() -> None:
    algorithm = built()
    terms = terms_of(algorithm, "encoder", batch())
    hinges = terms["hinge_reconstruction"].sum() + terms["hinge_sample"].sum()
    assert any(gradient.any() for gradient in gradients(hinges, algorithm.networks["encoder"]))
    assert not gradients(hinges, algorithm.networks["generator"])
    # The reconstruction error has gradients at the generator, which the engine freezes in this update.
    assert gradients(terms["reconstruction"].sum(), algorithm.networks["generator"])


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_each_step_leaves_the_other_network_bit_identical(norm: str) -> None:
    for own, other in (("encoder", "generator"), ("generator", "encoder")):
        state = TrainState.build(replace(SMALL, norm=norm), 0, AdamConfig())
        algorithm: Any = state.algorithm
        updates = [u for u in algorithm.updates(0) if u.name == own]
        algorithm.updates = lambda nimg, updates=updates: updates
        before = networks_of(state)
        pixels = torch.randint(0, 256, (COUNT, 4, 4, 3), dtype=torch.uint8)
        Engine(schedule=SCHEDULE).train_iteration(state, (pixels,))
        after = networks_of(state)
        assert differing(before[own], after[own]) and not differing(before[other], after[other])


def test_the_generator_decodes_the_z_that_the_encoder_had_before_its_step_and_the_same_samples() -> None:
    algorithm = built()
    seen: list[Tensor] = []
    algorithm.networks["generator"].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    of = batch()
    for name in ("encoder", "generator"):
        terms_of(algorithm, name, replace(of, update=name))
        with torch.no_grad():
            algorithm.networks["encoder"].posterior.bias.add_(1.0)  # type: ignore[operator, union-attr]
    z, prior, both = seen
    assert torch.equal(both, torch.cat([z, prior]))


def test_without_a_generator_and_negative_weight_it_is_a_plain_vae_without_fakes() -> None:
    algorithm = built(negative_weight=0.0, generator_weight=0.0, margin=None)
    for name, terms in (("encoder", {"reconstruction", "kl_real"}), ("generator", {"reconstruction"})):
        assert terms_of(algorithm, name, batch()).keys() == weights_of(algorithm, name, batch().level).keys() == terms


def test_the_error_of_a_coarser_level_counts_as_that_of_all_pixels() -> None:
    algorithm = built(resolution=16)
    images = torch.zeros(COUNT, 3, 16, 16)
    fine = algorithm._error(images, images + 0.2, batch(16))
    coarse = algorithm._error(images[..., :4, :4], images[..., :4, :4] + 0.2, batch(4))
    torch.testing.assert_close(fine, coarse)


# The warm-up.


def test_the_warm_up_of_each_level_is_a_plain_vae_without_fakes() -> None:
    algorithm = built(warmup_kimg=(0.016, 0.032), negative_weight=1.0)
    for resolution, length in ((4, 16), (8, 32)):
        before, after = batch(resolution, seen=length - COUNT), batch(resolution, seen=length)
        warming, playing = (terms_of(algorithm, "encoder", of) for of in (before, after))
        assert warming.keys() == {"reconstruction", "kl_real", "margin"}
        assert playing["hinge_sample"].requires_grad
        assert weights_of(algorithm, "encoder", before.level).keys() == warming.keys()
        assert weights_of(algorithm, "encoder", after.level).keys() == playing.keys()
        assert weights_of(algorithm, "encoder", after.level)["hinge_sample"] == 0.5
        generator = [weights_of(algorithm, "generator", of.level) for of in (before, after)]
        assert generator == [
            {"reconstruction": 0.05},
            {"reconstruction": 0.05, "kl_reconstruction": 0.5, "kl_sample": 0.5},
        ]
        assert [terms_of(algorithm, "generator", of).keys() for of in (before, after)] == [w.keys() for w in generator]


def test_the_official_warm_up_forgets_the_weights_of_the_vae() -> None:
    algorithm = built(warmup_kimg=(0.016,), warmup_official_weights=True, kl_weight=3.0)
    for seen, expected in ((0, (1.0, 1.0)), (16, (0.05, 3.0))):
        found = weights_of(algorithm, "encoder", batch(seen=seen).level)
        assert (found["reconstruction"], found["kl_real"]) == expected
        assert weights_of(algorithm, "generator", batch(seen=seen).level)["reconstruction"] == expected[0]


# The margin.


def follow(algorithm: intro_vae.IntroVAE, seen: int, kl: float, index: int = 0) -> float:
    level = Level(index=index, resolution=8, blend=1.0, batch_size=COUNT, lr=1e-3, seen=seen)
    whole = replace(batch(), level=level)
    algorithm.observe(whole, {"encoder/kl_real": torch.tensor(kl)})
    return float(terms_of(algorithm, "encoder", whole)["margin"])


def test_the_margin_is_a_multiple_of_the_plateau_of_the_warm_up_and_then_stays() -> None:
    algorithm = built(margin=None, margin_ratio=1.5, warmup_kimg=(0.256,))
    # The half-life is a sixteenth of the warm-up: two batches. The average is unbiased from the first value on.
    assert follow(algorithm, 0, 10.0) == pytest.approx(15.0)
    assert follow(algorithm, 8, 10.0) == pytest.approx(15.0)
    first, second = 0.5**0.5, 1.0
    third = follow(algorithm, 16, 40.0)
    assert third == pytest.approx(1.5 * (10 * (first**2 + first) + 40 * second) / (first**2 + first + second))
    last = follow(algorithm, 248, 40.0)
    assert follow(algorithm, 256, 1000.0) == follow(algorithm, 6400, 1000.0) == last > third


def test_a_later_level_s_warm_up_measures_anew_and_one_without_keeps_the_margin() -> None:
    algorithm = built(margin=None, margin_ratio=1.5, warmup_kimg=(0.064, 0.0, 0.064))
    assert follow(algorithm, 0, 10.0) == pytest.approx(15.0)
    assert follow(algorithm, 0, 99.0, index=1) == pytest.approx(15.0)
    assert follow(algorithm, 0, 20.0, index=2) == pytest.approx(30.0)


def test_a_given_margin_is_by_level_and_follows_nothing() -> None:
    algorithm = built(margin=(7.0, 9.0))
    assert algorithm.observed == ()
    assert [float(terms_of(algorithm, "encoder", batch(r))["margin"]) for r in (4, 8)] == [7.0, 9.0]
    assert built(margin=None, warmup_kimg=(1.0,)).observed == ("encoder/kl_real",)


def margin_trained_on_this_rank() -> tuple[list[float], float]:
    """The margins of a run across its warm-up and a change of level, and the sum of its absolute weights."""
    from alae_core import sync

    with float64():
        loss = replace(PLAYING, margin=None, warmup_kimg=(0.016, 0.008))
        state = TrainState.build(replace(SMALL, loss=loss), 0, AdamConfig())
        share, margins = COUNT // sync.world_size(), []
        for _ in range(6):
            size = SCHEDULE.level_at(state.nimg).resolution
            generator = torch.Generator().manual_seed(state.nimg)
            pixels = torch.randint(0, 256, (COUNT, size, size, 3), generator=generator, dtype=torch.uint8)
            own = pixels[sync.rank() * share : (sync.rank() + 1) * share]
            metrics = Engine(schedule=SCHEDULE).train_iteration(state, (own,))
            margins.append(float(metrics["encoder/margin"]))
        return margins, float(sum(p.abs().sum() for p in state.algorithm.networks["encoder"].parameters()))


@pytest.mark.distributed
def test_the_margin_is_the_same_on_two_ranks_and_on_one(pair: Pair) -> None:
    margins, weights = margin_trained_on_this_rank()
    assert len(set(margins)) == 4  # 0 at first, two batches of the warm-up, one of the second level's
    for found, of_rank in pair(margin_trained_on_this_rank):
        assert found == pytest.approx(margins, abs=1e-9)
        assert of_rank == pytest.approx(weights, abs=1e-6)


# Outputs and refusals.


def test_codes_are_means_of_posteriors_and_the_prior_s_codes_are_z_itself() -> None:
    algorithm, of = built(), batch()
    networks: Any = algorithm.networks
    mean, _ = networks["encoder"](of.images[0], 1)
    assert torch.equal(algorithm.embed(networks, of), mean)
    assert torch.equal(algorithm.reconstruct(networks, of), networks["generator"](mean, 1))  # type: ignore[arg-type]
    z = of.noise("z", 6)
    assert torch.equal(algorithm.generate(networks, of), networks["generator"](z, 1))
    assert torch.equal(algorithm.generate(networks, of, Sampling(truncation=0.5)), networks["generator"](z * 0.5, 1))
    assert algorithm.mapped(networks, z) is z and algorithm.mix(networks, of, of) is None


@pytest.mark.parametrize("sampling", [Sampling(mixing_probability=0.5), Sampling(truncation=(0.5, 1.0))])
def test_sampling_that_needs_styles_is_refused(sampling: Sampling) -> None:
    algorithm = built()
    with pytest.raises(SamplingError, match="one code per image: no mixing, and one number for truncation"):
        algorithm.generate(algorithm.networks, batch(), sampling)


def test_what_is_not_finite_is_refused_with_the_layer_it_began_in() -> None:
    state, _ = trained(SMALL, until=48)
    with torch.no_grad():
        state.algorithm.networks["encoder"].blocks["4"].conv2.weight[0, 0, 0, 0] = float("nan")  # type: ignore[index, union-attr]
    pixels = torch.zeros(COUNT, 8, 8, 3, dtype=torch.uint8)
    message = r"^encoder/\w+ is not finite at .* on rank 0: first in the output of encoder\.blocks\.4\.conv2$"
    with pytest.raises(NonFiniteError, match=message):
        Engine(schedule=SCHEDULE).train_iteration(state, (pixels,))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"margin": None}, "measured in the first level's warm-up"),
        ({"margin": None, "warmup_kimg": (0.0, 1.0)}, "measured in the first level's warm-up"),
        ({"margin_ratio": 1.0}, "margin_ratio=1.0 puts the margin below the divergence of reals"),
        ({"margin": ()}, "margin=\\(\\); give one value"),
        ({"warmup_kimg": (-1.0,)}, "warmup_kimg=\\(-1.0,\\); give one value"),
    ],
)
def test_losses_that_cannot_be_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^algorithm\.loss\..*{sentence}"):
        replace(PLAYING, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"first_resolution": 2}, "first_resolution=2; give a power of two from 4"),
        ({"first_resolution": 6}, "first_resolution=6"),
        ({"first_resolution": 16}, "first_resolution=16"),
        ({"group": 0}, "group=0; give 1"),
    ],
)
def test_networks_that_cannot_be_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^algorithm\.{sentence}"):
        replace(SMALL, **options)
