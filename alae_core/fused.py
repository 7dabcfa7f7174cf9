"""Chains of pointwise operations, each compiled into one kernel by torch.compile and differentiable twice.

An uncompiled chain reads and writes its features at every operation, a compiled one about once. A function compiled by
torch.compile cannot be differentiated twice, as gradient penalties need, so each chain has three kernels: its value, its
gradient, and the gradient of that. Shapes are symbolic, so a new level or batch size compiles little or nothing again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import Function

Tensors = tuple[Tensor, ...]
Kernel = Callable[..., Tensors]
Chain = TypeVar("Chain", bound=Callable[..., Any])

_ENABLED: ContextVar[bool] = ContextVar("fused", default=False)
# After this many variants of a function (wanted gradients, dtypes, layouts) torch stops compiling it, with only a warning.
_MOST_FORMS = 64


@contextmanager
def enabled(on: bool) -> Iterator[None]:
    """Context in which chains run compiled if `on`, otherwise operation by operation."""
    token = _ENABLED.set(on)
    try:
        yield
    finally:
        _ENABLED.reset(token)


def require_compiler(device: torch.device) -> None:
    """Raise RuntimeError if kernels cannot be compiled for `device` on this machine."""
    try:
        _compiled(lambda x: (x + 1,))(torch.zeros(2, device=device))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise RuntimeError(
            f"training.compile=true, but torch cannot compile for {device.type} here ({reason}); "
            "install a C++ compiler such as g++, or set training.compile=false"
        ) from error


def fused(chain: Chain) -> Chain:
    """Decorator that compiles a pure function of tensors where `enabled`; it returns one tensor or a tuple of tensors.

    Results equal those of the plain function up to rounding.
    """
    kernels = _Kernels(chain)

    @wraps(chain)
    def run(*inputs: Tensor) -> Any:
        if not _ENABLED.get():
            return chain(*inputs)
        outputs = _Value.apply(kernels, *inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    return run  # type: ignore[return-value]


class _Kernels:
    """The compiled value, gradients and second gradients of a chain, each compiled when it is first needed."""

    def __init__(self, chain: Callable[..., Any]) -> None:
        def value(*inputs: Tensor) -> Tensors:
            outputs = chain(*inputs)
            return outputs if isinstance(outputs, tuple) else (outputs,)

        self.value: Callable[[], Kernel] = cache(lambda: _compiled(value))
        self.gradient: Callable[..., Kernel] = cache(lambda *form: _compiled(_gradient(value, *form)))
        self.second: Callable[..., Kernel] = cache(
            lambda form, *own: _compiled(_gradient(_gradient(value, *form), *own))
        )


def _compiled(function: Kernel) -> Kernel:
    # Imported here because they take a second, which only compiled runs should pay.
    import torch._dynamo.config as config
    import torch.fx.experimental._config as shapes

    config.recompile_limit = max(config.recompile_limit, _MOST_FORMS)
    # Otherwise torch treats sizes that happen to be equal, such as batch and width, as one size.
    shapes.use_duck_shape = False
    return torch.compile(function, dynamic=True)


def _gradient(function: Kernel, count: int, wanted: tuple[int, ...]) -> Kernel:
    """Build the gradient of `function`: (its `count` inputs, then the outputs' gradients) -> gradients of `wanted` inputs."""

    def gradient(*tensors: Tensor) -> Tensors:
        def of_wanted(*some: Tensor) -> Tensors:
            given = list(tensors[:count])
            for place, tensor in zip(wanted, some, strict=True):
                given[place] = tensor
            return function(*given)

        pull = torch.func.vjp(of_wanted, *[tensors[place] for place in wanted])[1]
        pulled: Tensors = pull(tensors[count:])
        return pulled

    return gradient


class _Value(Function):
    @staticmethod
    def forward(ctx: Any, kernels: _Kernels, *inputs: Tensor) -> Tensors:
        ctx.kernels = kernels
        ctx.save_for_backward(*inputs)
        return kernels.value()(*_plain(inputs))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        form = (len(inputs), _places(ctx.needs_input_grad[1:]))
        return None, *_spread(_Gradient.apply(ctx.kernels, form, *inputs, *cotangents), *form)


class _Gradient(Function):
    @staticmethod
    def forward(ctx: Any, kernels: _Kernels, form: tuple[int, tuple[int, ...]], *tensors: Tensor) -> Tensors:
        ctx.kernels, ctx.form = kernels, form
        ctx.save_for_backward(*tensors)
        return kernels.gradient(*form)(*_plain(tensors))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("compiled chains are differentiable twice, not three times; set training.compile=false")
        tensors = ctx.saved_tensors
        own = (len(tensors), _places(ctx.needs_input_grad[2:]))
        gradients = ctx.kernels.second(ctx.form, *own)(*_plain(tensors), *_plain(cotangents))
        return None, None, *_spread(gradients, *own)


def _plain(tensors: Tensors) -> Tensors:
    """Tensors detached from their graphs; otherwise a kernel would be compiled for each kind of graph."""
    return tuple(tensor.detach() for tensor in tensors)


def _places(needed: tuple[bool, ...]) -> tuple[int, ...]:
    return tuple(place for place, need in enumerate(needed) if need)


def _spread(values: Tensors, count: int, places: tuple[int, ...]) -> list[Tensor | None]:
    """List of `count` entries with the values at their places and None elsewhere."""
    spread: list[Tensor | None] = [None] * count
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return spread
