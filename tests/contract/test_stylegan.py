"""StyleGAN and the configurations of its table 1: parameter counts, losses in closed form, parts, and sampling."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core import layers, losses
from alae_core.algorithm import Batch, Sampling
from alae_core.algorithms import stylegan
from alae_core.algorithms.stylegan import LossConfig
from alae_core.networks.style_generator import Form
from alae_core.schedule import Level
from pipelines import presets
from tests.support import tiny

TABLE_1 = pytest.mark.parametrize("letter", "abcdef")
PROGAN = Form(blur=False, styles=False, constant_input=False, noise=False)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def built(resolution: int = 8, **changes: Any) -> Any:
    """A small StyleGAN without zero weights, so that noise and biases have an effect."""
    settings = {"latent": 6, "base_channels": 4, "max_channels": 8, "mapping_layers": 2, "stddev_group": 2}
    return filled(stylegan.Config(resolution=resolution, **(settings | changes)).build())


def filled(algorithm: Any) -> Any:
    with torch.no_grad():
        for network in algorithm.networks.values():
            for parameter in network.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.3)
            if hasattr(network, "w_mean"):
                network.w_mean.normal_()
    return algorithm


def batch(resolution: int = 8, size: int = 4, nimg: int = 0) -> Batch:
    images = torch.randn(size, 3, resolution, resolution)
    level = Level(index=0, resolution=resolution, blend=1.0, batch_size=size, lr=0.001)
    return Batch(images=(images,), level=level, nimg=nimg, seed=0, rows=slice(0, size), update="test")


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def letter_of_table_1(letter: str) -> Any:
    return filled(tiny.brief(presets.load(f"ffhq1024_stylegan_{letter}")).algorithm.build())


# Golden sizes.


def test_mapping_and_generator_of_the_preset_have_the_parameters_of_nvidia_s_stylegan() -> None:
    with torch.device("meta"):
        networks = presets.load("ffhq1024_stylegan_f").algorithm.build().networks
    assert count(networks["mapping"]) + count(networks["generator"]) == 26_219_627


def test_the_traditional_generator_at_1024_has_the_23_1_million_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        networks = presets.load("ffhq1024_stylegan_a").algorithm.build().networks
    assert set(networks) == {"generator", "discriminator"}
    assert round(count(networks["generator"]) / 1e6, 1) == 23.1
    # StyleGAN's parameters without the styles, noise weights and constant of 18 layers (2 x 2544 channels), plus a dense layer.
    assert count(networks["generator"]) == 24_118_379 - 5_220_288 - 5_088 - 8_192 + 4_194_304


def test_presets_have_the_lengths_rates_and_batches_of_the_official_eight_gpu_schedule() -> None:
    full = presets.load("ffhq1024_stylegan_f")
    levels = [full.schedule.level_at(segment.start) for segment in full.schedule.segments]
    assert [level.batch_size for level in levels] == [256, 128, 64, 32, 32, 32, 32, 32]
    assert [level.lr for level in levels] == [0.001] * 4 + [0.0015, 0.002, 0.003, 0.003]
    assert levels[0].blend == 1.0 and all(level.blend < 1.0 for level in levels[1:])
    assert full.schedule.segments[-1].start / 1000 == pytest.approx(600 + 6 * 1_200, abs=1)
    assert full.schedule.total_nimg / 1000 == pytest.approx(25_000, abs=1)
    for name in ("ffhq1024_stylegan_a", "celebahq1024_stylegan_wgan"):
        assert presets.load(name).schedule.total_nimg / 1000 == pytest.approx(12_000, abs=1)
    assert max(presets.load("celebahq1024_stylegan_wgan").schedule.lr) == 0.002


# The losses.


class Linear(nn.Module):
    """Discriminator slope * sum(x) + 1 of images x."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.slope = nn.Parameter(slope)

    def forward(self, images: Tensor, level: int, blend: float) -> Tensor:
        return (images * self.slope).sum((1, 2, 3)) + 1


class HalfSquare(nn.Module):
    """Discriminator whose gradient with respect to the images equals the images."""

    def forward(self, images: Tensor, level: int, blend: float) -> Tensor:
        return images.square().sum((1, 2, 3)) / 2


class Black(nn.Module):
    """Generator of zeros."""

    def forward(self, styles: Tensor, noise: Any, level: int, blend: float) -> Tensor:
        return torch.zeros(len(styles), 3, 8, 8)


def terms(loss: LossConfig, critic: nn.Module, given: Batch) -> list[dict[str, Tensor]]:
    """Terms of each update in turn with the discriminator `critic` and black fakes."""
    algorithm = built(loss=loss)
    algorithm.networks |= {"generator": Black(), "discriminator": critic}
    return [update.loss(given) for update in algorithm.updates(0)]


def test_the_logistic_terms_and_r1_of_a_linear_discriminator_are_the_closed_forms() -> None:
    slope, given = 0.1 * torch.randn(3, 8, 8), batch()
    first, second = terms(LossConfig(r1_gamma=4.0), Linear(slope), given)
    score = (given.images[0] * slope).sum((1, 2, 3)) + 1
    torch.testing.assert_close(first["real"], torch.log1p(torch.exp(-score)))
    torch.testing.assert_close(first["fake"], torch.full((4,), math.log1p(math.e)))
    torch.testing.assert_close(first["r1"], (2 * slope.square().sum()).expand(4))
    torch.testing.assert_close(second["fake"], torch.full((4,), math.log1p(math.exp(-1))))


def test_the_wgan_gp_terms_of_a_linear_critic_are_the_closed_forms() -> None:
    slope, given = torch.randn(3, 8, 8), batch()
    loss = LossConfig(adversarial="wgan_gp", wgan_target=2.0)
    first, second = terms(loss, Linear(slope), given)
    value = (given.images[0] * slope).sum((1, 2, 3)) + 1
    torch.testing.assert_close(first["fake"] + first["real"], 1 - value)
    torch.testing.assert_close(first["gradient"], ((slope.norm() - 2) ** 2 / 4).expand(4))
    torch.testing.assert_close(first["drift"], value**2)
    torch.testing.assert_close(second["fake"], torch.full((4,), -1.0))
    assert built(loss=loss).updates(0)[0].weights == {"gradient": 10.0, "drift": 0.001}


def test_the_gradient_penalty_is_taken_at_each_image_s_own_point_between_real_and_fake() -> None:
    given = batch()
    first = terms(LossConfig(adversarial="wgan_gp"), HalfSquare(), given)[0]
    share = given.uniform("between", 1, 1, 1).flatten()
    assert len(share.unique()) == 4
    norm = given.images[0].flatten(1).norm(dim=1) * (1 - share)  # fakes are black
    torch.testing.assert_close(first["gradient"], (norm - 1) ** 2)


def test_the_gradient_penalty_of_a_constant_critic_can_be_descended() -> None:
    slope = torch.zeros(3, requires_grad=True)
    images = torch.randn(2, 3, requires_grad=True)
    losses.gradient_penalty((images * slope).sum(1), images, 1.0).sum().backward()
    assert slope.grad is not None and torch.isfinite(slope.grad).all()


# Updates.


@pytest.mark.parametrize("loss", [LossConfig(), LossConfig(adversarial="wgan_gp")])
def test_the_discriminator_steps_before_the_generator_and_its_penalties_are_in_float32(loss: LossConfig) -> None:
    updates = built(loss=loss).updates(0)
    assert [(u.name, u.trains, u.every, u.amp) for u in updates] == [
        ("discriminator", ("discriminator",), 1, False),
        ("generator", ("mapping", "generator"), 1, True),
    ]


def test_lazy_r1_is_its_own_update_with_corrected_adam_betas() -> None:
    experiment = tiny.brief(presets.load("ffhq1024_stylegan_f"))
    config: Any = experiment.algorithm
    state = tiny.build(replace(experiment, algorithm=replace(config, loss=LossConfig(r1_every=16))))
    updates = state.algorithm.updates(0)
    assert [(u.name, u.trains, u.every, u.amp) for u in updates] == [
        ("discriminator", ("discriminator",), 1, True),
        ("penalty", ("discriminator",), 16, False),
        ("generator", ("mapping", "generator"), 1, True),
    ]
    given = batch(size=8)
    assert [set(u.loss(given)) for u in updates] == [{"fake", "real"}, {"r1"}, {"fake"}]
    betas = {name: optimizer.param_groups[0]["betas"] for name, optimizer in state.optimizers.items()}
    assert betas["discriminator"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    assert betas["generator"] == betas["mapping"] == (0.0, 0.99)


# Parts of each configuration.


@TABLE_1
def test_each_configuration_of_table_1_trains_across_a_fade(letter: str) -> None:
    experiment = tiny.brief(presets.load(f"ffhq1024_stylegan_{letter}"))
    metrics = tiny.train(tiny.build(experiment), experiment, until=4 * tiny.BATCH)
    assert len(metrics) == 4


@TABLE_1
def test_each_configuration_of_table_1_adds_its_part_to_the_one_before(letter: str) -> None:
    algorithm, given = letter_of_table_1(letter), batch()
    generator = algorithm.networks["generator"]
    codes = torch.randn(4, 4, 8)

    def changes(other_codes: Tensor = codes, nimg: int = 0) -> bool:
        plain = generator(codes, given.noise, 1)
        return not torch.equal(generator(other_codes, replace(given, nimg=nimg).noise, 1), plain)

    def with_other(layer: int) -> Tensor:
        return codes.index_fill(1, torch.tensor([layer]), 0.5)

    loss = set(algorithm.updates(0)[0].loss(given))
    training = algorithm.synthesis.training_styles(algorithm.networks, given)
    flat = [any(isinstance(m, layers.Blur) for m in network.modules()) for network in algorithm.networks.values()]
    parts = {
        "blur": any(flat),
        "r1": "r1" in loss,
        "mapping": "mapping" in algorithm.networks,
        "styles": changes(with_other(3)),
        "constant": "first.constant" in dict(generator.named_parameters()),
        "noise": changes(nimg=1),
        "mixing": not torch.equal(training[:, 0], training[:, -1]),
    }
    assert changes(with_other(0))
    first_with = {"blur": "b", "r1": "b", "mapping": "c", "styles": "c", "constant": "d", "noise": "e", "mixing": "f"}
    assert parts == {part: letter >= first for part, first in first_with.items()}


def test_without_styles_features_are_normalised_over_channels_and_the_code_over_its_dimensions() -> None:
    algorithm, given = built(form=PROGAN, mixing_probability=0.0, mapping_layers=0), batch(4)
    generator = algorithm.networks["generator"]
    codes = algorithm.synthesis.training_styles(algorithm.networks, given)
    torch.testing.assert_close(codes.square().mean(2), torch.ones(4, 2))
    dense = F.linear(codes[:, 0], generator.first.dense.weight * (math.sqrt(2 / 6) / 4)).view(4, 8, 4, 4)
    x = F.leaky_relu(dense + generator.first.first.bias.view(1, -1, 1, 1), 0.2)
    x = generator.first.conv(x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt())
    x = F.leaky_relu(x + generator.first.second.bias.view(1, -1, 1, 1), 0.2)
    x = generator.to_rgb[0](x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt())
    torch.testing.assert_close(generator(codes, given.noise, 0), x)


def test_a_form_that_no_code_can_enter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^algorithm.form.constant_input=true leaves no way into the generator"):
        Form(styles=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"form": PROGAN}, "algorithm.mixing_probability=0.9 needs styles"),
        ({"stddev_group": 0}, "algorithm.stddev_group=0"),
        ({"loss": {"adversarial": "wgan_gp", "r1_every": 2}}, "algorithm.loss.r1_every=2: WGAN-GP has no R1"),
        ({"loss": {"r1_every": 0}}, "algorithm.loss.r1_every=0"),
        ({"loss": {"wgan_target": 0.0}}, "algorithm.loss.wgan_target=0.0"),
    ],
)
def test_settings_that_cannot_hold_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        if "loss" in changes:
            changes = {"loss": LossConfig(**changes["loss"])}
        stylegan.Config(**changes)


# Sampling.


def test_a_truncation_of_zero_gives_one_image_where_all_levels_are_coarse_and_leaves_the_finer_layers_alone() -> None:
    algorithm = built(64)
    sampling = Sampling(truncation=0.0, noise="none")
    images = algorithm.generate(algorithm.networks, batch(32), sampling)
    torch.testing.assert_close(images, images[:1].expand_as(images))
    given = batch(64)
    styles = algorithm.synthesis.sampled_styles(algorithm.networks, given, sampling)
    plain = algorithm.synthesis.sampled_styles(algorithm.networks, given, Sampling())
    mean = algorithm.networks["mapping"].w_mean
    torch.testing.assert_close(styles[:, :8], mean.expand(4, 8, 6))
    assert torch.equal(styles[:, 8:], plain[:, 8:])


def test_each_level_has_a_psi_of_its_own() -> None:
    algorithm, given = built(16), batch(16)
    plain = algorithm.synthesis.sampled_styles(algorithm.networks, given, Sampling())
    styles = algorithm.synthesis.sampled_styles(algorithm.networks, given, Sampling(truncation=(0.5, 0.0)))
    mean = algorithm.networks["mapping"].w_mean
    torch.testing.assert_close(styles[:, :2], (plain[:, :2] + mean) / 2)
    torch.testing.assert_close(styles[:, 2:4], mean.expand(4, 2, 6))
    assert torch.equal(styles[:, 4:], plain[:, 4:])


def test_without_a_mapping_the_mean_code_is_zero() -> None:
    algorithm, given = built(mapping_layers=0), batch()
    styles = algorithm.synthesis.sampled_styles(algorithm.networks, given, Sampling(truncation=0.5))
    torch.testing.assert_close(styles.square().mean(2), torch.full((4, 4), 0.25))


@pytest.mark.parametrize("training", [True, False])
def test_mixed_images_change_from_the_first_to_the_second_code_once_within_their_layers(training: bool) -> None:
    algorithm, given = built(16, mixing_probability=1.0), batch(16, size=32)
    synthesis, networks = algorithm.synthesis, algorithm.networks
    sampled = Sampling(mixing_probability=1.0)
    styles = (
        synthesis.training_styles(networks, given) if training else synthesis.sampled_styles(networks, given, sampled)
    )
    coarse, fine = (networks["mapping"](given.noise(name, 6)).unsqueeze(1) for name in ("z", "z_mixed"))
    first, second = (styles == coarse).all(2), (styles == fine).all(2)
    cuts = first.sum(1)
    assert torch.equal(first, torch.arange(6) < cuts.unsqueeze(1)) and torch.equal(second, ~first)
    assert set(cuts.tolist()) == {1, 2, 3, 4, 5}


def test_noise_is_each_image_s_own_or_one_for_all_or_none_and_kept_to_the_layers_asked_for() -> None:
    algorithm, given = built(16), batch(16)

    def images(**options: Any) -> Tensor:
        # One style for all images, so that they differ only by their noise.
        sampling = Sampling(truncation=(0.0, 0.0, 0.0), **options)
        made: Tensor = algorithm.generate(algorithm.networks, given, sampling)
        return made

    def differ(made: Tensor) -> bool:
        return bool((made[0] - made[1]).abs().max() > 1e-3)

    none, shared = images(noise="none"), images(noise="shared")
    assert differ(images()) and not differ(none) and not differ(shared)
    assert (shared - none).abs().max() > 1e-3
    torch.testing.assert_close(images(noise_layers=(3, 3)), none)
    torch.testing.assert_close(images(noise_layers=(0, 6)), images())
    assert differ(images(noise_layers=(4, 6)))
    assert (images(noise_layers=(4, 6)) - images(noise_layers=(0, 4))).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ({"truncation": 0.7}, "styles"),
        ({"truncation": (1.0, 0.7)}, "styles"),
        ({"mixing_probability": 0.9}, "styles"),
        ({"noise": "none"}, "noise"),
        ({"noise_layers": (0, 2)}, "noise"),
    ],
)
def test_a_sampling_option_that_the_form_cannot_follow_is_refused(option: dict[str, Any], part: str) -> None:
    algorithm = built(form=PROGAN, mixing_probability=0.0)
    with pytest.raises(ValueError, match=rf"^{next(iter(option))}=.* cannot be followed: algorithm.form.{part}=false"):
        algorithm.generate(algorithm.networks, batch(), Sampling(**option))
    full = built()
    assert torch.isfinite(full.generate(full.networks, batch(), Sampling(**option))).all()


def test_there_is_no_encoder_and_so_no_reconstruction_and_no_mixing_of_real_images() -> None:
    algorithm = built()
    assert algorithm.reconstruct(algorithm.networks, batch()) is None
    assert algorithm.mix(algorithm.networks, batch(), batch()) is None
