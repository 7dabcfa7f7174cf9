"""NICE-GAN's networks: sizes, receptive fields, spectral and blended norms, and equality with plain forms."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.networks.nice_gan import (
    BlendedNorm,
    Classifiers,
    Generator,
    SharedEncoder,
    SpectralConv,
    blended_norm,
    follow_spectral_norms,
    smallest_resolution,
)
from tests.support.tensors import differing, float64


@pytest.fixture(autouse=True)
def _in_double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    with float64():
        yield


def parameters(*networks: nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())


def test_they_have_as_many_parameters_as_the_official_ones() -> None:
    with torch.device("meta"):
        assert parameters(SharedEncoder(3, 64), Classifiers(64)) == 46_874_433
        assert parameters(Generator(3, 64)) == 8_104_640
        assert parameters(Generator(3, 64, blocks=4)) == 5_743_296
        assert parameters(Generator(3, 64, form="full")) == 276_474_560


@pytest.mark.parametrize(("layers", "size", "near", "far"), [(7, 256, 30, 6), (7, 128, 14, 2), (6, 64, 14, 2)])
def test_codes_are_a_quarter_of_the_image_and_the_classifiers_judge_maps_of_the_official_sizes(
    layers: int, size: int, near: int, far: int
) -> None:
    code, logit = SharedEncoder(3, 1)(torch.randn(2, 3, size, size))
    assert code.shape == (2, 2, size // 4, size // 4) and logit.shape == (2, 1)
    local, whole = Classifiers(1, layers)(code)
    assert local.shape == (2, 1, near, near) and whole.shape == (2, 1, far, far)
    assert Generator(3, 1)(code).shape == (2, 3, size, size)


@pytest.mark.parametrize(("layers", "fields"), [(7, (70, 286)), (6, (34, 142))])
def test_the_two_classifiers_judge_patches_of_the_official_sizes(layers: int, fields: tuple[int, int]) -> None:
    images = torch.randn(1, 1, 512, 512, requires_grad=True)
    for logits, field in zip(Classifiers(1, layers)(SharedEncoder(1, 1)(images)[0]), fields, strict=True):
        middle = logits.shape[-1] // 2
        (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], images, retain_graph=True)
        rows, columns = gradient[0, 0].nonzero().unbind(1)
        assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (field, field)


@pytest.mark.parametrize("layers", [6, 7, 8])
def test_the_smallest_images_leave_one_global_patch_and_smaller_ones_cannot_be_judged(layers: int) -> None:
    smallest, classifiers = smallest_resolution(layers), Classifiers(1, layers)
    assert classifiers(torch.randn(1, 2, smallest // 4, smallest // 4))[1].shape == (1, 1, 1, 1)
    with pytest.raises(RuntimeError):
        classifiers(torch.randn(1, 2, smallest // 4 - 1, smallest // 4 - 1))


# Spectral norms.


def test_a_forward_pass_changes_no_bit_of_a_network_and_following_moves_nothing_but_singular_vectors() -> None:
    encoder, classifiers = SharedEncoder(3, 2).train(), Classifiers(2).train()
    images = torch.randn(1, 3, 96, 96)

    def passed() -> tuple[dict[str, Any], Tensor]:
        code, logit = encoder(images)
        states = {"encoder": encoder.state_dict(), "classifiers": classifiers.state_dict()}
        copied = {name: {key: t.clone() for key, t in state.items()} for name, state in states.items()}
        return copied, torch.cat([logit.flatten(), *(logits.flatten() for logits in classifiers(code))])

    (before, first), (after, second) = passed(), passed()
    assert not differing(before, after) and torch.equal(first, second)
    for network in (encoder, classifiers):
        follow_spectral_norms(network)
    moved = differing(before, passed()[0])
    # The two layers that give logits have a single row, whose singular vectors the first step finds.
    names = [f"encoder.{layer}" for layer in ("conv1", "conv2")]
    names += [f"classifiers.{layer}" for layer in ("trunk.0", "near.0", "far.0", "far.2", "far.4")]
    assert moved == sorted(f"{name}.norm.{vector}." for name in names for vector in ("left", "right"))


@pytest.mark.parametrize(("stride", "bias"), [(1, False), (2, True)])
def test_a_spectral_convolution_divides_its_weight_by_the_largest_singular_value_also_in_its_gradient(
    stride: int, bias: bool
) -> None:
    conv = SpectralConv(3, 5, stride, bias=bias)
    for _ in range(1000):
        conv.follow()
    x = torch.randn(2, 3, 8, 8)
    weight = conv.weight.detach().clone().requires_grad_()
    normalised = weight / torch.linalg.matrix_norm(weight.flatten(1), ord=2)
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), normalised, conv.bias, stride)
    found = conv(x)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(y.square().sum(), w)[0] for y, w in ((found, conv.weight), (expected, weight))]
    torch.testing.assert_close(*gradients)


def test_singular_vectors_start_near_those_of_the_first_weights_and_follow_weights_that_change() -> None:
    conv = SpectralConv(3, 8, 1)

    def error() -> float:
        exact = torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2)
        return float(((conv.norm(conv.weight) - exact) / exact).abs().detach())

    assert error() < 0.01
    with torch.no_grad():
        conv.weight.normal_()
    lost = error()
    for _ in range(100):
        conv.follow()
    assert error() < 1e-3 < lost


def test_the_norm_of_a_float32_weight_is_no_coarser_under_autocast() -> None:
    conv = SpectralConv(3, 8, 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = conv.norm(conv.weight)
    assert inside.dtype == torch.float32 and torch.equal(inside, conv.norm(conv.weight))


# The encoder.


def plain_encoder(encoder: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """The code and the logit, computed from the layers' definitions."""
    x = images
    for conv in (encoder.conv1, encoder.conv2):
        weight = conv.weight / (conv.norm.left @ conv.weight.flatten(1) @ conv.norm.right)
        x = F.leaky_relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, conv.bias, 2), 0.2)
    pooled = torch.cat([F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)], 1).flatten(1)
    weight = encoder.judge.weight
    logit = pooled @ (weight / torch.linalg.matrix_norm(weight, ord=2)).t()
    attended = encoder.mix(torch.cat([x, x], 1) * weight.view(1, -1, 1, 1))
    return F.leaky_relu(encoder.gamma * attended + x, 0.2), logit


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_the_encoder_judges_pooled_features_and_adds_them_weighted_by_its_judge(gamma: float) -> None:
    encoder = SharedEncoder(3, 2)
    assert encoder.gamma == 0
    with torch.no_grad():
        encoder.gamma.fill_(gamma)
    images = torch.randn(2, 3, 16, 12)
    for found, expected in zip(encoder(images), plain_encoder(encoder, images), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_attention_is_trained_from_its_start_at_zero() -> None:
    encoder = SharedEncoder(3, 2)
    (gradient,) = torch.autograd.grad(encoder(torch.randn(2, 3, 8, 8))[0].square().sum(), encoder.gamma)
    assert gradient.abs() > 0


# The generator.


def plain_blend(x: Tensor, rho: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Both norms computed separately, with torch's unbiased variances."""
    instance = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
    layer = (x - x.mean((1, 2, 3), keepdim=True)) / (x.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
    share = (rho[:, 0].exp() / rho.exp().sum(1)).view(1, -1, 1, 1)
    return scale[:, :, None, None] * (share * instance + (1 - share) * layer) + shift[:, :, None, None]


def test_blended_norms_are_the_instance_s_and_the_layer_s_by_a_softmax_also_in_their_gradients() -> None:
    inputs = [torch.randn(*shape) for shape in ((2, 3, 5, 4), (3, 2), (2, 3), (2, 3))]
    results = []
    for function in (blended_norm, plain_blend):
        leaves = [value.clone().requires_grad_() for value in inputs]
        result = function(leaves[0] * 3 + 7, *leaves[1:])
        results.append([result, *torch.autograd.grad(result.pow(3).sum(), leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_blended_norms_of_bfloat16_are_taken_in_float32_and_given_back_as_they_came() -> None:
    x = (torch.randn(2, 3, 8, 8) * 0.1 + 100).bfloat16()
    rest = [torch.randn(*shape).float() for shape in ((3, 2), (2, 3), (2, 3))]
    found = blended_norm(x, *rest)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, blended_norm(x.float(), *rest).bfloat16())


def test_residual_blocks_begin_with_nine_tenths_of_the_instance_and_the_other_norms_with_nine_tenths_of_the_layer() -> (
    None
):
    generator = Generator(3, 2)
    adaptive = [rho for block in generator.blocks for rho in (block.rho1, block.rho2)]
    own = [layer.rho for layer in generator.modules() if isinstance(layer, BlendedNorm)]
    assert (len(adaptive), len(own)) == (12, 5)
    for rhos, share in ((adaptive, 0.9002), (own, 0.0998)):
        for rho in rhos:
            assert rho.requires_grad and rho.shape[1] == 2
            torch.testing.assert_close(rho.softmax(1)[:, 0], torch.full((len(rho),), share), atol=5e-5, rtol=0)


def plain_generator(g: Any, code: Tensor) -> Tensor:
    """The image computed from the layers' definitions, for the light and the full generator."""

    def conv(x: Tensor, layer: Any) -> Tensor:
        around = layer.kernel_size[0] // 2
        return F.conv2d(F.pad(x, (around,) * 4, mode="reflect") if around else x, layer.weight, layer.bias)

    def own(x: Tensor, norm: Any) -> Tensor:
        return F.relu(plain_blend(x, norm.rho, norm.weight, norm.bias))

    x = own(conv(code, g.first[0]), g.first[1])
    hidden = x.flatten(1) if g.form == "full" else F.adaptive_avg_pool2d(x, 1).flatten(1)
    hidden = F.relu(F.relu(hidden @ g.hidden[0].weight.t()) @ g.hidden[2].weight.t())
    scale, shift = hidden @ g.scale.weight.t(), hidden @ g.shift.weight.t()
    for block in g.blocks:
        y = F.relu(plain_blend(conv(x, block.conv1), block.rho1, scale, shift))
        x = x + plain_blend(conv(y, block.conv2), block.rho2, scale, shift)
    for first in (0, 7):
        x = own(conv(x, g.up[first]), g.up[first + 1])
        x = own(F.pixel_shuffle(conv(x, g.up[first + 3]), 2), g.up[first + 5])
    return torch.tanh(conv(x, g.image))


@pytest.mark.parametrize("form", ["light", "full"])
def test_the_generator_is_its_plain_definition_with_one_scale_and_shift_for_all_residual_blocks(form: Any) -> None:
    generator = Generator(3, 2, blocks=2, form=form, resolution=16)
    code = torch.randn(2, 4, 4, 4)
    torch.testing.assert_close(generator(code), plain_generator(generator, code))


def test_the_light_generator_takes_codes_of_any_shape() -> None:
    assert Generator(1, 2, blocks=1)(torch.randn(1, 4, 5, 3)).shape == (1, 1, 20, 12)
