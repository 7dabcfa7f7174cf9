"""Convolutions with a fast second derivative, which gradient penalties need.

torch computes the second derivative with respect to the weights as a convolution that has the images as kernels, which is
slow for large images. It equals the first derivative with respect to the weights with the gradient in place of the images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function

_PENALISED: ContextVar[bool] = ContextVar("penalised", default=False)


@contextmanager
def penalised() -> Iterator[None]:
    """Context in which `convolve` supports a gradient penalty.

    Inside it, `autograd.grad(..., create_graph=True)` may be taken with respect to the images only, in full precision.
    """
    token = _PENALISED.set(True)
    try:
        yield
    finally:
        _PENALISED.reset(token)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    transposed: bool = False,
) -> Tensor:
    """torch's (transposed) convolution of x [N, C, H, W]; within `penalised`, with the fast second derivative."""
    form = (stride, padding, transposed)
    if not _PENALISED.get():
        return _convolution(x, weight, bias, *form)
    result: Tensor = _Convolution.apply(x, weight, form)
    return result if bias is None else result + bias.view(1, -1, 1, 1)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, transposed: bool) -> Tensor:
    function = F.conv_transpose2d if transposed else F.conv2d
    return function(x, weight, bias, stride=stride, padding=padding)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, form: tuple[int, int, bool], wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Gradients with respect to x and to the weight, from the gradient of the result; `wanted` selects them."""
    stride, padding, transposed = form
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, (stride,) * 2, (padding,) * 2, (1, 1), transposed, (0, 0), 1, (*wanted, False)
    )
    return by_x, by_weight


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, form: tuple[int, int, bool]) -> Tensor:
        ctx.form = form
        ctx.save_for_backward(x, weight)
        return _convolution(x, weight, None, *form)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            # A graph is recorded, so this is the gradient of the penalty, with respect to the images only.
            return _ByImages.apply(gradient, weight, x.detach(), ctx.form), None, None
        return *_gradients(gradient, x, weight, ctx.form, ctx.needs_input_grad[:2]), None


class _ByImages(Function):
    """Gradient of a convolution with respect to its images; it is linear in the result's gradient and in the weights."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, like: Tensor, form: tuple[int, int, bool]) -> Tensor:
        ctx.form = form
        ctx.save_for_backward(gradient, weight)
        return _gradients(gradient, like, weight, form, (True, False))[0]

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        if torch.is_grad_enabled():
            raise RuntimeError("a convolution under a gradient penalty is differentiable twice, not three times")
        gradient, weight = ctx.saved_tensors
        by_gradient, by_weight = ctx.needs_input_grad[:2]
        return (
            _convolution(second, weight, None, *ctx.form) if by_gradient else None,
            _gradients(gradient, second, weight, ctx.form, (False, True))[1] if by_weight else None,
            None,
            None,
        )
