"""Convolutions whose gradient by the images is differentiated again, as gradient penalties need.

torch's own second derivative by the weights is a convolution with the images as kernels: the larger they are, the slower
than the weights' first derivative, which it equals with the gradient in the place of the images.
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
    """Within it, convolutions expect `autograd.grad(..., create_graph=True)` by the images alone, in full precision."""
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
    """torch's convolution of x [N, C, H, W]; where `penalised`, with the fast second derivative."""
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
    """Of the result's gradient: the gradients of x and of the weight, those that are wanted."""
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
            # A graph is being made: this is the penalty's gradient, by the images alone.
            return _ByImages.apply(gradient, weight, x.detach(), ctx.form), None, None
        return *_gradients(gradient, x, weight, ctx.form, ctx.needs_input_grad[:2]), None


class _ByImages(Function):
    """The gradient of a convolution by its images: linear in the gradient of the result, and in the weights."""

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
