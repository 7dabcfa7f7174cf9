"""The residual encoder and decoder: sizes, growth, norms, and equality of the fast forms with plain ones."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.layers import downsample, upsample
from alae_core.networks.intro_vae import Form, Norm, Residual, ResidualDecoder, ResidualEncoder, level_widths

NORMS = pytest.mark.parametrize("norm", ["group", "batch", "none"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def pair(first_resolution: int | None = 4, resolution: int = 16, **form: Any) -> tuple[Any, Any]:
    """A small encoder and decoder whose norms have random scales and shifts."""
    size = (resolution, 3, 6, 4, 8, Form(**form), first_resolution)
    networks = ResidualEncoder(*size), ResidualDecoder(*size)
    with torch.no_grad():
        for layer in (layer for n in networks for layer in n.modules() if isinstance(layer, Norm)):
            for parameter in layer.parameters():
                parameter.normal_(1.0, 0.3)
    return networks


def millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.mark.parametrize(
    ("resolution", "base", "most", "latent", "encoder", "decoder"),
    [
        (128, 64, 512, 512, 22.9, 16.5),
        (128, 16, 256, 256, 4.5, 2.9),
        (256, 32, 512, 512, 23.0, 16.5),
        (256, 64, 512, 512, 27.9, 21.5),
        (512, 16, 512, 512, 23.0, 16.5),
        (1024, 16, 512, 512, 28.0, 21.4),
    ],
)
def test_they_have_as_many_parameters_as_the_official_ones_less_a_shortcut_from_512_to_512(
    resolution: int, base: int, most: int, latent: int, encoder: float, decoder: float
) -> None:
    with torch.device("meta"):
        size = (resolution, 3, latent, base, most, Form(norm="batch"))
        found = millions(ResidualEncoder(*size)), millions(ResidualDecoder(*size))
    widths = level_widths(resolution, base, most)
    # In the official lists each 512 is a new object, except in the last block; a new object adds a shortcut.
    wide = [r for r in widths if 4 < r < resolution and widths[r] == widths[2 * r] == 512]
    # The paper's table has one decimal.
    assert [count + len(wide) * 512**2 / 1e6 for count in found] == pytest.approx([encoder, decoder], abs=0.06)


@pytest.mark.parametrize("depth", [0, 1, 2])
@NORMS
def test_every_level_codes_and_decodes_images_of_its_resolution(depth: int, norm: str) -> None:
    encoder, decoder = pair(norm=norm, group=2)
    size = 4 * 2**depth
    mean, log_variance = encoder(torch.randn(2, 3, size, size), depth)
    assert mean.shape == log_variance.shape == (2, 6)
    assert decoder(mean, depth).shape == (2, 3, size, size)


def test_without_a_first_resolution_there_is_one_stem_and_one_head() -> None:
    encoder, decoder = pair(None)
    assert list(encoder.stems) == list(decoder.heads) == ["16"]
    assert list(pair(8)[0].stems) == ["8", "16"]


# Growth: a fade begins with the old network on pooled images and ends with the new one.


@NORMS
def test_a_fade_starts_as_the_coarser_encoder_on_pooled_images_and_ends_as_the_finer_one(norm: str) -> None:
    encoder, _ = pair(norm=norm)
    images = torch.randn(2, 3, 16, 16)
    for blend, expected in ((0.0, encoder(downsample(images), 1)), (1.0 - 1e-7, encoder(images, 2))):
        for found, wanted in zip(encoder(images, 2, blend), expected, strict=True):
            torch.testing.assert_close(found, wanted)
    assert not torch.allclose(encoder(images, 2, 0.5)[0], encoder(images, 2)[0])


@NORMS
def test_a_fade_starts_as_the_coarser_decoder_enlarged_and_ends_as_the_finer_one(norm: str) -> None:
    _, decoder = pair(norm=norm)
    z = torch.randn(2, 6)
    for depth in (1, 2):
        coarse, fine = upsample(decoder(z, depth - 1)), decoder(z, depth)
        torch.testing.assert_close(decoder(z, depth, 0.0), coarse)
        torch.testing.assert_close(decoder(z, depth, 0.25), torch.lerp(coarse, fine, 0.25))


def test_the_posterior_means_the_same_at_every_level_as_its_layer_is_one() -> None:
    encoder, decoder = pair()
    for network, layer in ((encoder, "posterior"), (decoder, "first")):
        used = [name for name, _ in network.named_parameters() if name.startswith(layer)]
        assert used == [f"{layer}.weight", f"{layer}.bias"]


# The functions of the blocks.


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("widths", [(4, 8), (8, 8)])
def test_an_upsampling_block_equals_upsampling_before_a_block_of_plain_convolutions(
    widths: tuple[int, int], after: bool
) -> None:
    block: Any = Residual(*widths, Form(norm_after_addition=after), up=True).double()
    x = torch.randn(2, widths[0], 4, 4, dtype=torch.float64)
    big = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    h = F.conv2d(big, block.conv1.weight, padding=1)
    h = F.conv2d(F.leaky_relu(F.group_norm(h, 2), 0.2), block.conv2.weight, padding=1)
    shortcut = big if widths[0] == widths[1] else F.conv2d(big, block.shortcut.weight)
    h = F.group_norm(h + shortcut, 2) if after else F.group_norm(h, 2) + shortcut
    torch.testing.assert_close(block(x), F.leaky_relu(h, 0.2))


def test_weights_start_as_those_of_plain_convolutions_also_where_they_upsample() -> None:
    block: Any = Residual(64, 64, Form(), up=True)
    plain = nn.Conv2d(64, 64, 3, bias=False).weight.detach()
    assert float(block.conv1.weight.detach().std()) == pytest.approx(float(plain.std()), rel=0.02)


def test_group_norm_takes_each_image_alone_and_at_least_four_channels_together() -> None:
    x = torch.randn(3, 12, 4, 4, dtype=torch.float64)
    norm = Norm(12, Form()).double()
    groups = x.view(3, 3, -1)
    expected = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected.view_as(x))
    torch.testing.assert_close(norm(x)[1:2], norm(x[1:2]))
    assert [Norm(width, Form()).channel_groups for width in (1, 6, 16, 20, 128, 512)] == [1, 1, 4, 5, 32, 32]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_group_norm_of_constant_channels_is_no_noise(layout: torch.memory_format) -> None:
    constant = torch.full((2, 8, 16, 16), 3.3).to(memory_format=layout)
    assert Norm(8, Form())(constant).abs().max() < 1e-2


def test_batch_norm_takes_groups_of_images_alike_in_training_and_evaluation_and_keeps_nothing() -> None:
    norm = Norm(4, Form(norm="batch", group=2))
    assert not dict(norm.named_buffers())
    x = torch.randn(5, 4, 4, 4)
    expected = torch.cat([F.batch_norm(part, None, None, training=True) for part in (x[:2], x[2:4], x[4:])])
    for mode in (True, False):
        torch.testing.assert_close(norm.train(mode)(x), expected)


def test_without_a_norm_each_channel_has_a_bias() -> None:
    norm = Norm(4, Form(norm="none"))
    with torch.no_grad():
        norm.bias.copy_(torch.arange(4.0))
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(norm(x), x + torch.arange(4.0).view(1, 4, 1, 1))


def test_the_norms_of_an_image_s_blocks_do_not_see_its_neighbours_unless_asked_to() -> None:
    images = torch.randn(4, 3, 16, 16)
    for norm, alone in (("group", True), ("none", True), ("batch", False)):
        encoder, _ = pair(norm=norm, group=4)
        assert torch.allclose(encoder(images, 2)[0][:1], encoder(images[:1], 2)[0], atol=1e-5) is alone


@pytest.mark.parametrize(("push", "bound"), [(1e4, 20.0), (-1e4, -30.0)])
def test_the_log_variance_is_bounded_and_the_mean_is_not(push: float, bound: float) -> None:
    encoder, _ = pair()
    with torch.no_grad():
        encoder.posterior.bias.fill_(push)
    mean, log_variance = encoder(torch.randn(2, 3, 16, 16), 2)
    assert torch.equal(log_variance, torch.full((2, 6), bound))
    assert (mean.abs() > 1e3).all()


def test_codes_are_in_full_precision_under_autocast() -> None:
    encoder, _ = pair()
    with torch.autocast("cpu", torch.bfloat16):
        codes: tuple[Tensor, Tensor] = encoder(torch.randn(2, 3, 16, 16), 2, 0.5)
    assert {code.dtype for code in codes} == {torch.float32}


def test_the_widths_halve_from_the_coarse_end_and_4x4_is_as_wide_as_8x8() -> None:
    assert level_widths(256, 32, 512) == {4: 512, 8: 512, 16: 512, 32: 256, 64: 128, 128: 64, 256: 32}
    assert level_widths(32, 16, 64) == {4: 64, 8: 64, 16: 32, 32: 16}
    assert level_widths(4, 16, 64) == {4: 16}
