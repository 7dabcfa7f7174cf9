"""Layers against plain forms of the same functions."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from alae_core import latents, layers
from alae_core.optim import AdamConfig


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(module: nn.Module) -> Any:
    return module.double()


@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_the_up_convolution_is_nearest_upsampling_and_a_convolution_borders_included(size: int) -> None:
    layer = double(layers.UpConv(3, 5))
    x = torch.randn(2, 3, size, size + 1, dtype=torch.float64)
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.conv2d(large, layer.weight * math.sqrt(2 / 27), padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 4, 6])
def test_the_down_convolution_is_a_convolution_and_average_pooling_borders_included(size: int) -> None:
    layer = double(layers.DownConv(3, 5))
    x = torch.randn(2, 3, size, size + 2, dtype=torch.float64)
    expected = F.avg_pool2d(F.conv2d(x, layer.weight * math.sqrt(2 / 27), padding=1), 2)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)


def test_the_blur_is_the_binomial_filter_of_each_channel_with_zeros_outside() -> None:
    impulse = torch.zeros(1, 2, 3, 3)
    impulse[0, 1, 1, 1] = 16.0
    blurred = layers.Blur(2)(impulse)
    assert blurred[0, 0].abs().max() == 0
    assert blurred[0, 1].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    corner = torch.zeros(1, 2, 3, 3)
    corner[0, 0, 0, 0] = 16.0
    assert layers.Blur(2)(corner)[0, 0].tolist() == [[4, 2, 0], [2, 1, 0], [0, 0, 0]]


def test_the_blur_trains_nothing_and_saves_nothing() -> None:
    assert not list(layers.Blur(2).parameters()) and not layers.Blur(2).state_dict()


@pytest.mark.parametrize(("gain", "multiplier"), [(math.sqrt(2), 1.0), (1.0, 0.1), (0.03, 0.5)])
def test_a_linear_layer_starts_at_the_he_scale_whatever_its_multiplier(gain: float, multiplier: float) -> None:
    layer = layers.EqualLinear(400, 300, gain, multiplier)
    output = layer(torch.randn(64, 400))
    assert output.std().item() == pytest.approx(gain, rel=0.03)
    assert layer.weight.std().item() == pytest.approx(1 / multiplier, rel=0.02)
    assert torch.count_nonzero(layer.bias) == 0


@pytest.mark.parametrize("multiplier", [1.0, 0.1])
def test_one_adam_step_moves_the_effective_weight_as_a_scaled_rate_would(multiplier: float) -> None:
    """Implicit equalisation (He-scaled weights, learning rates times that scale) equals scaling at run time."""
    layer = double(layers.EqualLinear(6, 4, lr_multiplier=multiplier))
    with torch.no_grad():
        layer.bias.normal_()
    scale = math.sqrt(2 / 6) * multiplier
    weight = nn.Parameter(layer.weight.detach() * scale)
    bias = nn.Parameter(layer.bias.detach() * multiplier)
    x, target = torch.randn(8, 6, dtype=torch.float64), torch.randn(8, 4, dtype=torch.float64)
    implicit = Adam(
        [{"params": [weight], "lr": 0.01 * scale}, {"params": [bias], "lr": 0.01 * multiplier}],
        betas=(0.0, 0.99),
        eps=1e-12,
    )
    explicit = AdamConfig(eps=1e-12).build(layer)
    explicit.param_groups[0]["lr"] = 0.01
    for _ in range(3):
        for optimizer, output in ((explicit, layer(x)), (implicit, F.linear(x, weight, bias))):
            optimizer.zero_grad()
            (output - target).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(layer.weight * scale, weight, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(layer.bias * multiplier, bias, rtol=1e-6, atol=1e-9)


def test_a_convolution_keeps_the_size_and_the_variance_inside() -> None:
    layer = layers.EqualConv(64, 64, 3, gain=1.0, bias=True)
    output = layer(torch.randn(4, 64, 12, 12))
    assert output.shape == (4, 64, 12, 12)
    assert output[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1.0, rel=0.03)


def test_pixel_norm_gives_each_code_a_mean_square_of_one() -> None:
    normed = layers.pixel_norm(torch.randn(5, 16) * 7)
    torch.testing.assert_close(normed.square().mean(1), torch.ones(5))
    assert torch.isfinite(layers.pixel_norm(torch.zeros(1, 4))).all()


def test_instance_norm_is_that_of_torch() -> None:
    x = torch.randn(2, 3, 5, 5) * 3 + 1
    torch.testing.assert_close(layers.instance_norm(x), F.instance_norm(x, eps=1e-8))


def test_style_statistics_are_means_then_biased_deviations_and_the_normalised_features() -> None:
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64) * 2 + 1
    style, normed = layers.style_statistics(x)
    torch.testing.assert_close(style[:, :3], x.mean((2, 3)))
    torch.testing.assert_close(style[:, 3:], x.std((2, 3), correction=0), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(normed, F.instance_norm(x, eps=1e-8))


@pytest.mark.parametrize("function", [layers.instance_norm, lambda x: layers.style_statistics(x)[0]])
def test_a_constant_channel_has_finite_first_and_second_gradients(function: object) -> None:
    # The value one half makes the mean exact and the variance exactly zero.
    x = torch.full((1, 2, 4, 4), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)  # type: ignore[operator]
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert torch.isfinite(gradient).all() and torch.isfinite(second).all()


def test_a_style_of_zero_effect_leaves_the_features_as_they_are() -> None:
    modulation = layers.StyleModulation(4, 3)
    x, style = torch.randn(2, 3, 5, 5), torch.randn(2, 4)
    with torch.no_grad():
        scale, shift = modulation.affine(style).chunk(2, 1)
        expected = x * (scale[:, :, None, None] + 1) + shift[:, :, None, None]
        torch.testing.assert_close(modulation(x, style), expected)
        modulation.affine.weight.zero_()
        assert torch.equal(modulation(x, style), x)


def test_upsampling_repeats_pixels_and_downsampling_takes_the_mean_of_blocks() -> None:
    x = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(1, 1, 2, 2)
    assert layers.upsample(x)[0, 0].tolist() == [[1, 1, 3, 3], [1, 1, 3, 3], [5, 5, 7, 7], [5, 5, 7, 7]]
    assert layers.downsample(x).item() == 4.0
    assert torch.equal(layers.downsample(layers.upsample(x)), x)


# Codes in W.


def codes(count: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 3), torch.randn(count, 3)


def test_mixed_styles_are_the_coarse_code_below_the_cut_and_the_fine_one_from_it_on() -> None:
    coarse, fine = codes()
    cut = torch.tensor([1, 3, 5, 6])
    styles = latents.mix_styles(coarse, fine, cut, 6)
    for image, layer in ((n, k) for n in range(4) for k in range(6)):
        expected = coarse if layer < cut[image] else fine
        assert torch.equal(styles[image, layer], expected[image])


@pytest.mark.parametrize("count", [2, 4, 18])
def test_random_cuts_are_uniform_over_one_to_the_last_layer_and_none_otherwise(count: int) -> None:
    position = torch.linspace(0, 1, 8001)[:-1]
    cuts = latents.random_cuts(torch.zeros(8000), position, 0.9, count)
    assert torch.bincount(cuts, minlength=count)[1:].min() >= 8000 // (count - 1) - 1
    assert set(cuts.tolist()) == set(range(1, count))
    # The largest float below one must not give a cut after the last layer.
    edge = torch.tensor([1.0]).nextafter(torch.tensor([0.0]))
    assert latents.random_cuts(torch.zeros(1), edge, 0.9, count).item() == count - 1
    assert set(latents.random_cuts(torch.full((8,), 0.9), position[:8], 0.9, count).tolist()) == {count}


def test_the_official_cut_may_leave_all_layers_to_the_first_code() -> None:
    position = torch.linspace(0, 1, 8001)[:-1]
    cuts = latents.random_cuts(torch.zeros(8000), position, 0.9, 4, with_last=True)
    assert torch.bincount(cuts)[1:].min() >= 2000 - 1 and set(cuts.tolist()) == {1, 2, 3, 4}


def test_truncation_pulls_each_layer_by_its_own_psi() -> None:
    w, mean = torch.randn(4, 3), torch.randn(3)
    styles = latents.broadcast_styles(w, 6)
    pulled = latents.truncate(styles, mean, (0.0, 0.0, 0.5, -1.0, 1.0, 1.0))
    assert torch.equal(pulled[:, :2], mean.expand(4, 2, 3))
    torch.testing.assert_close(pulled[:, 2], (w + mean) / 2)
    torch.testing.assert_close(pulled[:, 3], 2 * mean - w)
    assert torch.equal(pulled[:, 4:], styles[:, 4:])
    assert torch.equal(latents.truncate(styles, mean, (1.0,) * 6), styles)
