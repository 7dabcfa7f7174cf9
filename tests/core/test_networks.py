"""The networks: golden sizes, growth by level, and independence of the images in a batch."""

from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from alae_core import layers, losses, noise
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.mlp import MLPEncoder, MLPGenerator
from alae_core.networks.style_encoder import StyleEncoder
from alae_core.networks.style_generator import StyleGenerator, level_channels


class Golden(NamedTuple):
    """One published configuration: sizes, channels from 4x4 up, and parameter counts of F, G and E."""

    resolution: int
    channels: int
    latent: int
    base: int
    most: int
    mapping_layers: int
    widths: tuple[int, ...]
    mapping: int
    generator: int
    encoder: int


GOLDEN = {
    "ffhq1024": Golden(
        1024,
        3,
        512,
        16,
        512,
        8,
        (512, 512, 512, 512, 256, 128, 64, 32, 16),
        2_101_248,
        24_118_379,
        26_974_352,
    ),
    "celebahq256": Golden(
        256, 3, 512, 64, 512, 8, (512, 512, 512, 512, 256, 128, 64), 2_101_248, 23_984_981, 26_789_952
    ),
    "bedroom256": Golden(256, 3, 512, 32, 512, 8, (512, 512, 512, 256, 128, 64, 32), 2_101_248, 18_305_717, 21_145_888),
    "celeba128": Golden(128, 3, 256, 64, 256, 8, (256, 256, 256, 256, 128, 64), 526_336, 5_944_402, 6_625_600),
    "mnist32": Golden(32, 1, 32, 64, 256, 4, (256, 256, 128, 64), 4_224, 2_422_980, 3_017_920),
}
EVERY = pytest.mark.parametrize("golden", GOLDEN.values(), ids=GOLDEN)
LEVELS = pytest.mark.parametrize("level", [0, 1, 2])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def generator() -> StyleGenerator:
    """A generator up to 16x16 without zero weights, so that noise and biases have effect."""
    network = StyleGenerator(16, 2, latent=6, base_channels=4, max_channels=8, rgb_gain=1.0)
    _fill_zeros(network)
    return network.double()


def encoder() -> StyleEncoder:
    network = StyleEncoder(16, 2, latent=6, base_channels=4, max_channels=8)
    _fill_zeros(network)
    return network.double()


def _fill_zeros(network: nn.Module) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)


def styles(level: int, images: int = 3) -> Tensor:
    return torch.randn(images, 2 * (level + 1), 6, dtype=torch.float64)


def draw(name: str, *shape: int, rows: slice = slice(0, 3), salt: int = 0) -> Tensor:
    return noise.normal((3, *shape), torch.device("cpu"), salt, name)[rows].double()


@EVERY
def test_channels_by_level_are_those_of_the_paper_s_code(golden: Golden) -> None:
    assert level_channels(golden.resolution, golden.base, golden.most) == golden.widths


@EVERY
def test_parameter_counts_are_those_of_the_official_networks(golden: Golden) -> None:
    size = (golden.resolution, golden.channels, golden.latent, golden.base, golden.most)
    with torch.device("meta"):
        assert count(Mapping(golden.latent, golden.mapping_layers, 0.1)) == golden.mapping
        assert count(StyleGenerator(*size)) == golden.generator
        assert count(StyleEncoder(*size)) == golden.encoder


def test_mapping_and_generator_at_1024_have_together_the_parameters_of_nvidia_s_stylegan() -> None:
    assert GOLDEN["ffhq1024"].mapping + GOLDEN["ffhq1024"].generator == 26_219_627


def test_the_mlps_have_the_parameters_of_the_permutation_invariant_mnist_networks() -> None:
    assert count(Mapping(50, 6, 0.1)) == 15_300
    assert count(MLPGenerator(50, 1024, 28, 1)) == 1_905_424
    assert count(MLPEncoder(50, 1024, 28, 1)) == 1_904_690
    # Three layers; the last has one output.
    assert count(LinearDiscriminator(50, 0.1)) == 2 * 50 * 51 + 51


@LEVELS
def test_each_level_makes_and_reads_images_of_its_own_resolution(level: int) -> None:
    images = generator()(styles(level), draw, level)
    assert images.shape == (3, 2, 4 * 2**level, 4 * 2**level)
    assert encoder()(images, level).shape == (3, 6)


@LEVELS
def test_a_level_leaves_the_layers_above_it_without_gradient(level: int) -> None:
    g, e = generator(), encoder()
    e(g(styles(level), draw, level), level).square().sum().backward()
    for index in range(3):
        used = [p.grad is not None for p in e.blocks[index].parameters()]
        assert all(used) if index <= level else not any(used)
        assert (g.to_rgb[index].weight.grad is not None) == (index == level)
    for index in (1, 2):
        used = [p.grad is not None for p in g.blocks[index - 1].parameters()]
        assert all(used) if index <= level else not any(used)


@pytest.mark.parametrize("level", [1, 2])
def test_the_generator_s_fade_starts_at_the_coarser_image_and_ends_at_the_finer(level: int) -> None:
    g, w = generator(), styles(level)
    old = layers.upsample(g(w, draw, level - 1))
    new = g(w, draw, level, blend=1.0)
    torch.testing.assert_close(g(w, draw, level, blend=0.0), old)
    torch.testing.assert_close(g(w, draw, level, blend=1.0 - 1e-12), new)
    torch.testing.assert_close(g(w, draw, level, blend=0.25), 0.75 * old + 0.25 * new)


@pytest.mark.parametrize("level", [1, 2])
def test_the_encoder_s_fade_starts_at_the_coarser_code_and_ends_at_the_finer(level: int) -> None:
    e = encoder()
    images = torch.randn(3, 2, 4 * 2**level, 4 * 2**level, dtype=torch.float64)
    torch.testing.assert_close(e(images, level, blend=0.0), e(layers.downsample(images), level - 1))
    torch.testing.assert_close(e(images, level, blend=1.0 - 1e-12), e(images, level, blend=1.0))
    assert (e(images, level, blend=0.5) - e(images, level, blend=1.0)).abs().max() > 1e-3


@LEVELS
def test_an_image_does_not_depend_on_the_others_of_its_batch(level: int) -> None:
    g, w = generator(), styles(level)
    together = g(w, draw, level)
    for image in range(3):
        alone = g(w[image : image + 1], partial(draw, rows=slice(image, image + 1)), level)
        torch.testing.assert_close(together[image : image + 1], alone)


def test_every_image_has_its_own_noise_already_at_4x4() -> None:
    g = generator()
    same = styles(0, images=1).expand(3, -1, -1)
    images = g(same, draw, 0)
    assert (images[0] - images[1]).abs().max() > 1e-3
    assert (images[1] - images[2]).abs().max() > 1e-3


def test_fresh_noise_weights_are_zero_so_noise_has_no_effect_at_first() -> None:
    g = StyleGenerator(8, 1, latent=6, base_channels=4, max_channels=8).double()
    w = styles(1)
    assert torch.equal(g(w, draw, 1), g(w, partial(draw, salt=1), 1))


@LEVELS
def test_each_layer_s_style_changes_the_image(level: int) -> None:
    g, w = generator(), styles(level)
    before = g(w, draw, level)
    for layer in range(2 * (level + 1)):
        changed = w.clone()
        changed[:, layer] += 1
        assert (g(changed, draw, level) - before).abs().max() > 1e-3, layer


@LEVELS
def test_a_constant_image_gives_a_finite_gradient_penalty_and_finite_gradients(level: int) -> None:
    e, d = encoder().float(), LinearDiscriminator(6, 0.1)
    images = torch.full((2, 2, 4 * 2**level, 4 * 2**level), 0.3, requires_grad=True)
    for blend in (0.5, 1.0):
        penalty = losses.r1_penalty(d(e(images, level, blend)), images, gamma=10.0)
        penalty.mean().backward()
        assert torch.isfinite(penalty).all()
    gradients = [p.grad for p in [*e.parameters(), *d.parameters()] if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)


def test_the_mapping_sees_only_the_direction_of_z() -> None:
    mapping, z = Mapping(8, 2, 0.1), torch.randn(4, 8)
    torch.testing.assert_close(mapping(z), mapping(3 * z), rtol=1e-4, atol=1e-6)


def test_the_mean_style_follows_the_mapping_s_mean_by_its_decay() -> None:
    mapping, z = Mapping(8, 2, 0.1), torch.randn(100, 8)
    mean = mapping(z).mean(0).detach()
    mapping.follow_mean(z, decay=0.75)
    torch.testing.assert_close(mapping.w_mean, 0.25 * mean)
    mapping.follow_mean(z, decay=0.75)
    torch.testing.assert_close(mapping.w_mean, (1 - 0.75**2) * mean)
    assert "w_mean" in mapping.state_dict()


def test_the_discriminator_is_one_affine_map() -> None:
    d = LinearDiscriminator(8, 0.1).double()
    _fill_zeros(d)
    a, b = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(d(0.3 * a + 0.7 * b), 0.3 * d(a) + 0.7 * d(b))
    assert d(a).shape == (5,)


def test_the_mlp_s_long_code_is_the_layer_before_its_short_one() -> None:
    e = MLPEncoder(5, 16, 4, 1)
    images = torch.randn(3, 1, 4, 4)
    assert e.features(images).shape == (3, 16)
    torch.testing.assert_close(e(images), layers.leaky_relu(e.output(e.features(images))))


def test_mlps_do_not_depend_on_the_positions_of_pixels() -> None:
    """The same permutation of the pixels and of the first layer's weights changes nothing."""
    e: Any = MLPEncoder(5, 16, 4, 1)
    images, order = torch.randn(3, 1, 4, 4), torch.randperm(16)
    before = e(images)
    with torch.no_grad():
        e.layers[0].weight.copy_(e.layers[0].weight[:, order])
    torch.testing.assert_close(e(images.flatten(1)[:, order].view(3, 1, 4, 4)), before)
