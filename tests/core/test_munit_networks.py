"""MUNIT's networks: sizes, norms, and equality with plain forms of the official layers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.algorithms import munit
from alae_core.networks.munit import (
    EPS,
    ContentEncoder,
    Generator,
    LayerNorm,
    MultiScaleDiscriminator,
    Residual,
    StyleEncoder,
    UpConv,
    adaptive_instance_norm,
    instance_norm,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def small(resolution: int = 64) -> tuple[ContentEncoder, StyleEncoder, Generator, MultiScaleDiscriminator]:
    return (
        ContentEncoder(3, 4, 2, 2),
        StyleEncoder(resolution, 3, 8, 4),
        Generator(3, 8, 4, 16, 2, 2),
        MultiScaleDiscriminator(resolution, 3, 2, 3),
    )


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# Sizes.


def test_they_have_the_official_networks_parameters() -> None:
    with torch.device("meta"):
        networks: Any = munit.Config().build().networks
    assert len(networks) == 8
    for domain in munit.DOMAINS:
        assert parameters(networks[f"content_encoder_{domain}"]) == 5_385_856
        assert parameters(networks[f"style_encoder_{domain}"]) == 2_764_936
        generator = networks[f"generator_{domain}"]
        assert parameters(generator.mapping) == 1_120_768
        assert parameters(generator) - parameters(generator.mapping) == 5_754_627
        assert parameters(networks[f"discriminator_{domain}"]) == 8_271_171
    assert generator.norms == 8 and generator.mapping[-1].out_features == 4096


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 100)])
def test_a_content_has_a_quarter_of_the_pixels_a_side_and_comes_back_as_an_image(height: int, width: int) -> None:
    content_encoder, style_encoder, generator, _ = small()
    images = torch.randn(2, 3, height, width)
    content, style = content_encoder(images), style_encoder(images)
    assert content.shape == (2, 16, height // 4, width // 4) and style.shape == (2, 8)
    image = generator(content, style)
    assert image.shape == images.shape and image.abs().max() <= 1


@pytest.mark.parametrize(("resolution", "sides"), [(256, [16, 8, 4]), (64, [4, 2, 1]), (32, [2, 1, 1]), (8, [1, 1, 1])])
def test_every_scale_of_a_discriminator_has_a_map(resolution: int, sides: list[int]) -> None:
    *_, discriminator = small(resolution)
    maps = discriminator(torch.randn(1, 3, resolution, resolution))
    assert [values.shape for values in maps] == [(1, 1, side, side) for side in sides]


def test_a_value_of_a_map_rates_a_patch_of_46_px_of_its_scale() -> None:
    *_, discriminator = small(256)
    for number, side in enumerate((46, 92, 184)):
        images = torch.zeros(1, 3, 256, 256, requires_grad=True)
        values = discriminator(images)[number]
        centre = values.shape[-1] // 2
        (gradient,) = torch.autograd.grad(values[0, 0, centre, centre], images)
        seen = gradient.abs().sum((0, 1, 2)).nonzero()
        reach = int(seen.max() - seen.min()) + 1
        # The pooling between scales adds a few pixels to the receptive field.
        assert side <= reach < side + 2 ** (number + 1)


def test_the_scales_are_pooled_without_the_border_that_is_added() -> None:
    *_, discriminator = small()
    inputs: list[Tensor] = []
    for critic in discriminator.scales:
        critic.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    discriminator(torch.full((1, 3, 64, 64), 0.7))
    assert [given.shape[-1] for given in inputs] == [64, 32, 16]
    for given in inputs:
        torch.testing.assert_close(given, torch.full_like(given, 0.7))


# Initial weights.


def test_coders_start_with_he_s_weights_discriminators_with_0_02_and_none_with_biases() -> None:
    content_encoder, style_encoder, generator, discriminator = (
        ContentEncoder(3, 32, 2, 1),
        StyleEncoder(64, 3, 8, 32),
        Generator(3, 8, 32, 64, 2, 1),
        MultiScaleDiscriminator(64, 3, 32, 1),
    )
    for network in (content_encoder, style_encoder, generator, discriminator):
        for layer in (m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))):
            fan_in = layer.weight[0].numel()
            expected = 0.02 if network is discriminator else (2 / fan_in) ** 0.5
            assert layer.weight.std().item() == pytest.approx(expected, rel=6 / layer.weight.numel() ** 0.5)
            assert not layer.bias.any()
    norms = [m for m in generator.modules() if isinstance(m, LayerNorm)]
    assert len(norms) == 2
    for norm in norms:
        assert norm.weight.min() >= 0 and norm.weight.max() <= 1 and norm.weight.std() > 0.1


# The functions of the layers.


def official_adain(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Adaptive instance norm as batch norm of one image with N C channels, the official form."""
    n, c = x.shape[:2]
    normed = F.batch_norm(x.reshape(1, n * c, *x.shape[2:]), None, None, deviation, mean, training=True, eps=1e-5)
    return normed.view_as(x)


def test_adaptive_instance_norm_takes_the_means_first_and_adds_no_one_to_the_deviations() -> None:
    x, style = torch.randn(3, 4, 5, 6).double(), torch.randn(3, 8).double()
    expected = official_adain(x, style[:, :4].flatten(), style[:, 4:].flatten())
    torch.testing.assert_close(adaptive_instance_norm(x, style), expected)
    plain = torch.cat([torch.zeros(3, 4), torch.ones(3, 4)], 1).double()
    torch.testing.assert_close(adaptive_instance_norm(x, plain), F.instance_norm(x))
    torch.testing.assert_close(instance_norm(x), F.instance_norm(x))


def test_a_residual_block_is_two_convolutions_of_a_reflected_border_and_norms_beside_the_identity() -> None:
    block, x = Residual(4).double(), torch.randn(2, 4, 5, 6).double()
    first, second = torch.randn(2, 2, 8).double()
    for styles in ((), (first, second)):
        h = x
        for number, conv in enumerate((block.conv1, block.conv2)):
            h = F.conv2d(F.pad(h, (1, 1, 1, 1), mode="reflect"), conv.weight, conv.bias)
            if styles:
                h = official_adain(h, styles[number][:, :4].flatten(), styles[number][:, 4:].flatten())
            else:
                h = F.instance_norm(h)
            h = F.relu(h) if number == 0 else h
        torch.testing.assert_close(block(x, *styles), x + h)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 5), (7, 4)])
def test_upsampling_and_a_reflected_5x5_convolution_are_one_3x3_convolution_and_corrected_borders(
    height: int, width: int
) -> None:
    layer = UpConv(3, 4).double()
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    padded = F.pad(F.interpolate(x, scale_factor=2.0, mode="nearest"), (2, 2, 2, 2), mode="reflect")
    plain, ours = F.conv2d(padded, layer.weight, layer.bias), layer(x)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(plain)
    inputs = [x, *layer.parameters()]
    of_plain, of_ours = (torch.autograd.grad(value, inputs, cotangent) for value in (plain, ours))
    for expected, found in zip(of_plain, of_ours, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_layer_norm_adds_epsilon_to_the_unbiased_deviation_over_all_of_an_image() -> None:
    norm, x = LayerNorm(4).double(), torch.randn(3, 4, 5, 6).double()
    with torch.no_grad():
        norm.bias.normal_()
    for image, found in zip(x, norm(x), strict=True):
        normed = (image - image.mean()) / (image.std() + 1e-5)
        torch.testing.assert_close(found, normed * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1))


def test_the_style_s_slices_go_to_the_layers_in_their_order() -> None:
    *_, generator, _ = small()
    given: list[Tensor] = []
    for block in generator.blocks:
        block.register_forward_pre_hook(lambda _, inputs: given.extend(inputs[1:]))
    content, style = torch.randn(2, 16, 4, 4), torch.randn(2, 8)
    generator(content, style)
    assert torch.equal(torch.cat(given, 1), generator.mapping(style))


def test_a_content_has_no_contrast_or_colour_of_its_image_and_a_style_has() -> None:
    content_encoder, style_encoder, *_ = small()
    images = torch.randn(1, 3, 64, 64)
    other = 0.5 * images + 0.3
    # The tolerance covers the norms' epsilon.
    torch.testing.assert_close(content_encoder(other), content_encoder(images), rtol=1e-2, atol=1e-2)
    assert not torch.allclose(style_encoder(other), style_encoder(images), rtol=0.1, atol=0.1)
    assert not [m for m in style_encoder.modules() if "Norm" in type(m).__name__]


def test_two_styles_of_a_content_differ_and_one_is_decoded_alike_each_time() -> None:
    content_encoder, _, generator, _ = small()
    content = content_encoder(torch.randn(1, 3, 64, 64))
    first, second = torch.randn(2, 1, 8)
    assert torch.equal(generator(content, first), generator(content, first))
    assert (generator(content, first) - generator(content, second)).abs().max() > 0.01


# A constant image, which makes gradients overflow in the official form.


@pytest.mark.parametrize("colour", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_constant_image_keeps_every_value_and_gradient_finite(colour: float, bf16: bool) -> None:
    content_encoder, style_encoder, generator, discriminator = small()
    images = torch.full((2, 3, 64, 64), colour, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        made = generator(content_encoder(images), style_encoder(images))
        loss = sum((values.float().square().mean() for values in discriminator(made)), (made - images).abs().mean())
    loss.backward()
    gradients = [images.grad, *(p.grad for n in (content_encoder, style_encoder, generator) for p in n.parameters())]
    assert torch.isfinite(made).all()
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_only_nearly_constant_channels_pass_no_gradient_and_all_have_their_values() -> None:
    x = torch.randn(1, 4, 8, 8).double() * torch.tensor([1.0, 0.02, 0.001, 0.0]).double().view(1, 4, 1, 1) + 3.3
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(1, 4, 8, 8).double()
    found, expected = instance_norm(ours), F.instance_norm(plain)
    torch.testing.assert_close(found, expected)
    for normed in (found, expected):
        (normed * weights).sum().backward()
    torch.testing.assert_close(ours.grad[:, :2], plain.grad[:, :2])  # type: ignore[index]
    assert plain.grad[:, 2:].abs().amax((0, 2, 3)).gt(100).all() and not ours.grad[:, 2:].any()  # type: ignore[index]


def test_the_layer_norm_of_an_image_without_any_deviation_has_a_gradient_of_its_epsilon_s_size() -> None:
    x = torch.full((1, 4, 8, 8), 3.3, requires_grad=True)
    (gradient,) = torch.autograd.grad((LayerNorm(4)(x) * torch.randn(1, 4, 8, 8)).sum(), x)
    assert torch.isfinite(gradient).all() and gradient.abs().max() < 10 / EPS
