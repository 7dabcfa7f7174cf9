"""Convolutions under a gradient penalty: second derivatives equal to torch's, computed in another way."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alae_core.convolution import convolve, penalised

FORMS = pytest.mark.parametrize(
    ("stride", "padding", "transposed", "kernel"),
    [(1, 1, False, 3), (1, 0, False, 1), (2, 1, False, 4), (2, 1, True, 4)],
)


def tensors(transposed: bool, kernel: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    shape = (3, 5) if transposed else (5, 3)
    return x, torch.randn(*shape, kernel, kernel, dtype=torch.float64, requires_grad=True)


def penalty_gradients(x: Tensor, weight: Tensor, outputs: Tensor) -> tuple[Tensor, ...]:
    """The gradients of the outputs plus a penalty on the gradient of a nonlinear function of the outputs."""
    (gradient,) = torch.autograd.grad(outputs.pow(3).sum(), x, create_graph=True)
    return torch.autograd.grad(gradient.square().sum() + outputs.sin().sum(), (x, weight))


@FORMS
def test_a_penalty_has_the_gradients_of_torch_s_convolution(
    stride: int, padding: int, transposed: bool, kernel: int
) -> None:
    x, weight = tensors(transposed, kernel)
    function = F.conv_transpose2d if transposed else F.conv2d
    expected = penalty_gradients(x, weight, function(x, weight, stride=stride, padding=padding))
    with penalised():
        outputs = convolve(x, weight, stride=stride, padding=padding, transposed=transposed)
    for found, right in zip(penalty_gradients(x, weight, outputs), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-10)


@FORMS
def test_without_a_penalty_it_is_torch_s_convolution_to_the_bit(
    stride: int, padding: int, transposed: bool, kernel: int
) -> None:
    x, weight = tensors(transposed, kernel)
    bias = torch.randn(5, dtype=torch.float64)
    function = F.conv_transpose2d if transposed else F.conv2d
    expected = function(x, weight, bias, stride=stride, padding=padding)
    assert torch.equal(convolve(x, weight, bias, stride=stride, padding=padding, transposed=transposed), expected)
    with penalised():
        within = convolve(x, weight, bias, stride=stride, padding=padding, transposed=transposed)
    torch.testing.assert_close(within, expected)


def test_a_frozen_weight_gets_no_gradient_and_the_images_still_do() -> None:
    x, weight = tensors(transposed=False, kernel=3)
    weight.requires_grad_(False)
    with penalised():
        outputs = convolve(x, weight, padding=1)
    (gradient,) = torch.autograd.grad(outputs.pow(2).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad is not None and weight.grad is None


def test_a_third_derivative_is_refused_and_not_silently_zero() -> None:
    x, weight = tensors(transposed=False, kernel=3)
    with penalised():
        outputs = convolve(x, weight, padding=1)
    (gradient,) = torch.autograd.grad(outputs.pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable twice, not three times"):
        torch.autograd.grad(gradient.square().sum(), x, create_graph=True)
