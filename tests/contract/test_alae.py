"""ALAE's options, including those of the official code and of the ablations: each has the documented effect."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.algorithm import Batch
from alae_core.algorithms import alae, style_alae
from alae_core.layers import downsample, leaky_relu
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.plain_encoder import PlainEncoder
from alae_core.networks.style_encoder import StyleEncoder
from alae_core.schedule import Level
from pipelines import presets
from tests.support import tiny

SMALL = style_alae.Config(resolution=8, latent=6, base_channels=4, max_channels=8, mapping_layers=2, rgb_gain=1.0)
COUNT = 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def built(**options: Any) -> style_alae.StyleALAE:
    """Weights without zeros, so that noise, biases and all outputs have an effect."""
    algorithm = replace(SMALL, **options).build()
    for network in algorithm.networks.values():
        filled(network)
    return algorithm


def filled(network: nn.Module) -> Any:
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
    return network


def batch(nimg: int = 0, rows: slice = slice(0, COUNT)) -> Batch:
    level = Level(index=1, resolution=8, blend=0.75, batch_size=COUNT, lr=1e-3)
    images = torch.randn(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(nimg))[rows]
    return Batch(images=(images,), level=level, nimg=nimg, seed=0, rows=rows, update="test")


def into(module: nn.Module) -> list[Tensor]:
    """Inputs of the module, one entry per call."""
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    return seen


def update(algorithm: alae.ALAE, name: str) -> Any:
    return next(u for u in algorithm.updates(0) if u.name == name)


# The three updates.


def test_the_three_updates_move_the_networks_of_the_algorithm() -> None:
    trains = {u.name: set(u.trains) for u in built().updates(0)}
    assert trains == {
        "discriminator": {"encoder", "discriminator"},
        "generator": {"mapping", "generator"},
        "reciprocity": {"generator", "encoder", "mapping"},
    }


def test_the_paper_s_third_update_leaves_the_mapping_alone() -> None:
    algorithm = built(loss=alae.LossConfig(latent_reconstruction_trains_mapping=False))
    assert set(update(algorithm, "reciprocity").trains) == {"generator", "encoder"}


@pytest.mark.parametrize(("moments", "steps"), [("shared", {"": 2}), ("own", {"": 1, "@reciprocity": 1})])
def test_the_third_update_shares_the_encoder_s_moments_or_keeps_its_own(moments: str, steps: dict[str, int]) -> None:
    experiment = tiny.brief(presets.load("celeba128_style_alae"))
    loss = alae.LossConfig(reciprocity_moments=moments)  # type: ignore[arg-type]
    config: Any = experiment.algorithm
    experiment = replace(experiment, algorithm=replace(config, loss=loss))
    state = tiny.build(experiment)
    tiny.train(state, experiment, until=1)
    taken = {
        name.removeprefix("encoder"): max(int(moments["step"]) for moments in adam.state.values())
        for name, adam in state.optimizers.items()
        if name.startswith("encoder")
    }
    assert taken == steps


def test_following_the_mean_style_three_times_is_following_it_once_by_the_cube_of_the_decay() -> None:
    thrice, once = Mapping(8, 2, 0.1), Mapping(8, 2, 0.1)
    once.load_state_dict(thrice.state_dict())
    z = torch.randn(16, 8)
    for _ in range(3):
        thrice.follow_mean(z, decay=0.995)
    once.follow_mean(z, decay=presets.load("celeba128_style_alae_compat").algorithm.loss.w_mean_decay)  # type: ignore
    torch.testing.assert_close(once.w_mean, thrice.w_mean)


# Options of the official code.


def test_the_official_discriminator_has_two_codes_of_outputs_and_reads_the_first_of_the_second() -> None:
    d: Any = LinearDiscriminator(512, 0.1, dead_outputs=True)
    assert sum(p.numel() for p in d.parameters()) == 1_050_624
    w = torch.randn(3, 512)
    expected = w
    for layer in filled(d).layers:
        expected = layer(expected)
    assert expected.shape == (3, 1024)
    assert torch.equal(d(w), expected[:, 512])
    assert not torch.equal(d(w), expected[:, 0])


@pytest.mark.parametrize(("activations", "slope"), [(1, 0.2), (2, 0.04)])
@pytest.mark.parametrize("level", [0, 1])
def test_each_activation_of_from_rgb_makes_its_negative_slope_smaller(
    activations: int, slope: float, level: int
) -> None:
    e: Any = filled(StyleEncoder(8, 3, 6, 4, 8, activations=activations))
    seen, images = into(e.blocks[level]), torch.randn(COUNT, 3, 4 * 2**level, 4 * 2**level)
    e(images, level)
    features = e.from_rgb[level](images)
    assert features.min() < -0.1
    torch.testing.assert_close(seen[0], torch.where(features > 0, features, slope * features))


def test_from_rgb_of_the_coarser_level_is_activated_as_often() -> None:
    e: Any = filled(StyleEncoder(8, 3, 6, 4, 8, activations=2))
    seen, images = into(e.blocks[0]), torch.randn(COUNT, 3, 8, 8)
    e(images, 1, blend=1e-9)
    features = e.from_rgb[0](downsample(images))
    torch.testing.assert_close(seen[0], torch.where(features > 0, features, 0.04 * features))


@pytest.mark.parametrize(("deviation_eps", "norm_eps"), [(1e-8, 1e-8), (0.0, 1e-5)])
def test_the_encoder_s_deviations_and_norms_have_each_their_epsilon(deviation_eps: float, norm_eps: float) -> None:
    e: Any = StyleEncoder(8, 3, 6, 4, 8, deviation_eps=deviation_eps, norm_eps=norm_eps).double()
    block = e.blocks[0]
    style, normed = into(block.style1), into(block.blur)
    # Contrast so low that the deviation is near the square root of the epsilons.
    images = 1e-3 * torch.randn(COUNT, 3, 4, 4, dtype=torch.float64)
    e(images, 0)
    x = leaky_relu(block.conv(leaky_relu(e.from_rgb[0](images))))
    mean, variance = x.mean((2, 3)), x.var((2, 3), correction=0)
    expected = torch.cat([mean, (variance + deviation_eps).sqrt()], 1)
    torch.testing.assert_close(style[0], expected, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(normed[0], F.instance_norm(x, eps=norm_eps), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("deviation_eps", "finite"), [(1e-8, True), (0.0, False)])
def test_without_an_epsilon_a_constant_channel_has_no_finite_gradient(deviation_eps: float, finite: bool) -> None:
    e = StyleEncoder(8, 3, 6, 4, 8, deviation_eps=deviation_eps, norm_eps=1e-5)
    images = torch.zeros(1, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(e(images, 0).sum(), images)
    assert bool(torch.isfinite(gradient).all()) == finite


def cuts(algorithm: style_alae.StyleALAE, nimg: int, rows: slice = slice(0, COUNT)) -> list[int]:
    """Number of layers of each image that have the style of its first layer."""
    styles = algorithm.synthesis.training_styles(algorithm.networks, batch(nimg, rows))
    return (styles == styles[:, :1]).all(2).sum(1).tolist()


def test_by_default_each_image_draws_its_own_mixing_cut_and_never_leaves_all_to_the_first_code() -> None:
    algorithm = built(mixing_probability=1.0)
    drawn = [cuts(algorithm, nimg) for nimg in range(40)]
    assert any(len(set(of_batch)) > 1 for of_batch in drawn)
    assert {cut for of_batch in drawn for cut in of_batch} == {1, 2, 3}


def test_the_official_cut_is_one_for_the_batch_on_every_rank_and_may_be_the_number_of_layers() -> None:
    algorithm = built(official=style_alae.OfficialCode(mixing_cut="batch"), mixing_probability=1.0)
    drawn = [cuts(algorithm, nimg) for nimg in range(40)]
    assert all(len(set(of_batch)) == 1 for of_batch in drawn)
    assert {of_batch[0] for of_batch in drawn} == {1, 2, 3, 4}
    # The second rank of two.
    assert [cuts(algorithm, nimg, slice(2, 4)) for nimg in range(40)] == [of_batch[2:] for of_batch in drawn]


class Listener(nn.Module):
    """A generator that records its noise."""

    def forward(self, styles: Tensor, noise: Any, level: int, blend: float) -> Tensor:
        self.heard = {index: noise(f"layer{index}", 1, 4, 4) for index in range(2)}
        return styles.new_zeros(len(styles), 3, 8, 8)


@pytest.mark.parametrize(("first_noise", "different"), [("image", COUNT), ("batch", 1)])
def test_the_official_first_noise_is_one_map_for_the_batch(first_noise: Any, different: int) -> None:
    algorithm = built(official=style_alae.OfficialCode(first_noise=first_noise))
    listener = Listener()
    algorithm.networks["generator"] = listener
    update(algorithm, "generator").loss(batch())
    assert len(listener.heard[0].unique(dim=0)) == different
    assert len(listener.heard[1].unique(dim=0)) == COUNT


def test_the_compat_form_takes_every_habit_of_the_official_code() -> None:
    default = style_alae.OfficialCode()
    assert all(value != getattr(default, name) for name, value in vars(style_alae.OFFICIAL).items())
    config: Any = presets.load("celeba128_style_alae_compat").tiny().algorithm
    assert config.official == style_alae.OFFICIAL
    algorithm = config.build()
    assert algorithm.networks["discriminator"].logit == config.latent
    assert (algorithm.synthesis.mixing_cut, algorithm.synthesis.first_noise) == ("batch", "batch")
    size = (8, 3, config.latent, config.base_channels, config.max_channels)
    encoder, images = algorithm.networks["encoder"], 0.01 * torch.randn(COUNT, 3, 8, 8)
    official = StyleEncoder(*size, deviation_eps=0.0, norm_eps=1e-5, activations=2)
    for other, same in ((official, True), (StyleEncoder(*size), False)):
        other.load_state_dict(encoder.state_dict())
        assert torch.equal(other(images, 1), encoder(images, 1)) == same


# Ablations.


def code_of(algorithm: style_alae.StyleALAE, images: Tensor) -> Tensor:
    return algorithm.networks["encoder"](images, 1, 0.75)


def test_the_reciprocal_loss_is_the_squared_error_of_the_code_or_of_z() -> None:
    for target in ("w", "z"):
        algorithm = built(reciprocity=target)
        # Without noise, because its names contain the update.
        for block in (algorithm.networks["generator"].first, *algorithm.networks["generator"].blocks):  # type: ignore
            for epilogue in (block.first, block.second):
                nn.init.zeros_(epilogue.noise_weight)
        z = batch().noise("z", 6)
        w = algorithm.networks["mapping"](z)
        image = algorithm.networks["generator"](w.unsqueeze(1).expand(-1, 4, -1), batch().noise, 1, 0.75)
        expected = (code_of(algorithm, image) - (z if target == "z" else w)).square().mean(1)
        found = update(algorithm, "reciprocity").loss(batch())["latent"]
        torch.testing.assert_close(found, expected)


def test_the_target_w_is_detached_so_the_mapping_learns_through_the_image_alone() -> None:
    algorithm = built()
    listener = Listener()
    algorithm.networks["generator"] = listener
    loss = update(algorithm, "reciprocity").loss(batch())["latent"].sum()
    gradients = torch.autograd.grad(loss, list(algorithm.networks["mapping"].parameters()), allow_unused=True)
    assert all(g is None or not g.any() for g in gradients)


@pytest.mark.parametrize("reciprocity", ["w", "z"])
def test_what_the_encoder_gives_is_mapped_before_it_is_decoded_only_if_it_is_z(reciprocity: Any) -> None:
    algorithm = built(reciprocity=reciprocity)
    seen = into(algorithm.networks["generator"])
    images = batch().images[0]
    expected = code_of(algorithm, images)
    if reciprocity == "z":
        expected = algorithm.networks["mapping"](expected)
    algorithm.reconstruct(algorithm.networks, batch())
    algorithm.mix(algorithm.networks, batch(), batch())
    assert torch.equal(seen[0], expected.unsqueeze(1).expand(-1, 4, -1))
    # Mixing: the coarse half of the first source, the fine half of each destination.
    torch.testing.assert_close(seen[1][:, 0], expected[:1].expand(COUNT, -1))
    torch.testing.assert_close(seen[1][:, -1], expected)


def test_a_separate_discriminator_plays_on_images_and_leaves_the_encoder_to_reciprocity() -> None:
    algorithm = built(discriminator="image", loss=alae.LossConfig(r1_every=4))
    trains = {u.name: set(u.trains) for u in algorithm.updates(0)}
    assert trains == {
        "discriminator": {"discriminator"},
        "penalty": {"discriminator"},
        "generator": {"mapping", "generator"},
        "reciprocity": {"generator", "encoder", "mapping"},
    }
    logits = algorithm.networks["discriminator"](batch().images[0], 1, 0.75)
    found = update(algorithm, "discriminator").loss(batch())
    torch.testing.assert_close(found["real"], F.softplus(-logits))
    encoder = list(algorithm.networks["encoder"].parameters())
    for name in ("discriminator", "generator"):
        loss = sum(term.sum() for term in update(algorithm, name).loss(batch()).values())
        assert all(g is None for g in torch.autograd.grad(loss, encoder, allow_unused=True)), name  # type: ignore


def test_a_separate_discriminator_s_batch_statistics_keep_their_groups_whole() -> None:
    assert built(discriminator="image").together == style_alae.STDDEV_GROUP == 4
    assert built().together == 1


def test_the_plain_encoder_has_the_layers_of_a_convolutional_trunk_and_no_others() -> None:
    with torch.device("meta"):
        e = PlainEncoder(128, 3, latent=256, base_channels=64, max_channels=256)
    widths = (256, 256, 256, 256, 128, 64)
    from_rgb = sum(3 * c + c for c in widths)
    blocks = sum(9 * f * f + f + 9 * f * c + c for c, f in pairwise(widths))
    last = 9 * 256 * 256 + 256 + 16 * 256 * 256 + 256 + 256 * 256 + 256
    assert sum(p.numel() for p in e.parameters()) == from_rgb + blocks + last


@pytest.mark.parametrize("level", [0, 1])
def test_the_plain_encoder_gives_a_code_of_each_image_alone_and_knows_its_contrast(level: int) -> None:
    e: Any = filled(PlainEncoder(8, 3, 6, 4, 8))
    images = torch.randn(3, 3, 4 * 2**level, 4 * 2**level)
    w = e(images, level)
    assert w.shape == (3, 6)
    torch.testing.assert_close(e(images[1:2], level), w[1:2])
    # Positively homogeneous apart from the biases; an instance norm would cancel the factor.
    for bias in (p for name, p in e.named_parameters() if "bias" in name):
        nn.init.zeros_(bias)
    torch.testing.assert_close(e(5 * images, level), 5 * e(images, level), rtol=1e-4, atol=1e-5)


def test_the_ablations_are_what_their_names_say_and_else_the_celeba_preset() -> None:
    whole: Any = presets.load("celeba128_style_alae").algorithm
    changes = {
        "separate": {"discriminator": "image", "mapping_lr_multiplier": 0.01},
        "nostyle": {"encoder": "plain"},
        "z": {"reciprocity": "z"},
    }
    for name, change in changes.items():
        experiment = presets.load(f"celeba128_style_alae_{name}")
        assert experiment.algorithm == replace(whole, **change)
        # 67 epochs of 182,637 images, rounded up to whole batches at each level.
        assert 0 <= experiment.schedule.total_nimg - 67 * 182_637 < 1100
