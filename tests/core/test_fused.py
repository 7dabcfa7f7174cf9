"""Chains as compiled kernels: their values and first and second gradients equal those of separate operations."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core import fused, layers

CHANNELS = 3


def style_chain(x: Tensor, bias: Tensor, noise: Tensor, weight: Tensor, style: Tensor) -> Any:
    return layers.noisy_styled(x, bias, noise, weight, style)


def statistics_chain(x: Tensor, bias: Tensor) -> Any:
    return layers.activated_statistics(1e-8, 1e-8)(x, bias)


def inputs_of(chain: Any, size: int = 6, images: int = 2) -> list[Tensor]:
    shapes = {
        statistics_chain: [(images, CHANNELS, size, size), (CHANNELS,)],
        style_chain: [
            (images, CHANNELS, size, size),
            (CHANNELS,),
            (images, 1, size, size),
            (CHANNELS,),
            (images, 2 * CHANNELS),
        ],
    }
    generator = torch.Generator().manual_seed(size)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes[chain]]
    drawn[0] = drawn[0].contiguous(memory_format=torch.channels_last)
    return drawn


def results(chain: Any, inputs: list[Tensor], trainable: tuple[int, ...], on: bool) -> list[Tensor]:
    """The outputs, their gradient with respect to the images, and the gradients of a penalty on that gradient."""
    tensors = [t.clone().requires_grad_(place in trainable) for place, t in enumerate(inputs)]
    with fused.enabled(on):
        outputs = chain(*tensors)
        total = sum((o * torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view_as(o)).sum() for o in _tuple(outputs))
        (gradient,) = torch.autograd.grad(total, tensors[0], create_graph=True)
        (gradient.square().sum() + total).backward()
    return [*_tuple(outputs), gradient, *(t.grad for t in tensors if t.grad is not None)]


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Chains made in the test are not compiled, which saves a minute and keeps the kernels' arithmetic."""
    monkeypatch.setattr(fused, "_compiled", lambda function: function)
    yield


@pytest.mark.parametrize("trainable", [(0,), (0, 1), (0, 1, 3, 4)])
def test_a_chain_in_three_kernels_gives_the_values_and_both_gradients_of_the_plain_one(
    uncompiled: None, trainable: tuple[int, ...]
) -> None:
    inputs = inputs_of(style_chain)
    wrapped = fused.fused(layers.noisy_styled.__wrapped__)  # type: ignore[attr-defined]
    found = results(wrapped, inputs, trainable, on=True)
    expected = results(style_chain, inputs, trainable, on=False)
    assert len(found) == len(expected) == 2 + len(trainable)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_chain_with_an_output_that_nobody_uses_has_the_gradients_of_the_other(uncompiled: None) -> None:
    pair = fused.fused(lambda x: (x.square(), x.sin()))
    x = torch.randn(5, requires_grad=True)
    with fused.enabled(True):
        (gradient,) = torch.autograd.grad(pair(x)[0].sum(), x)
    torch.testing.assert_close(gradient, 2 * x)


def test_a_third_derivative_is_refused_and_not_silently_zero(uncompiled: None) -> None:
    cube = fused.fused(lambda x: x**4)
    x = torch.randn(5, requires_grad=True)
    with fused.enabled(True):
        (first,) = torch.autograd.grad(cube(x).sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiable twice, not three times"):
            torch.autograd.grad(first.sum(), x, create_graph=True)


def test_a_chain_is_compiled_only_where_it_is_enabled_and_stays_so_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(function: Any) -> Any:
        def run(*tensors: Tensor) -> Any:
            calls.append("compiled")
            return function(*tensors)

        return run

    monkeypatch.setattr(fused, "_compiled", counted)
    double = fused.fused(lambda x: 2 * x)
    x = torch.ones(3)
    with fused.enabled(True):
        with fused.enabled(False):
            double(x)
        assert not calls
        assert torch.equal(double(x), 2 * x)
        assert calls == ["compiled"]
    double(x)
    assert calls == ["compiled"]


def test_a_missing_compiler_raises_an_error_that_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(function: Any) -> Any:
        def run(*tensors: Tensor) -> Any:
            raise FileNotFoundError("no working C++ compiler")

        return run

    monkeypatch.setattr(fused, "_compiled", fail)
    with pytest.raises(
        RuntimeError, match=r"^training.compile=true, but torch cannot compile for cpu here \(no working"
    ):
        fused.require_compiler(torch.device("cpu"))


@pytest.mark.slow
def test_compiled_kernels_give_the_values_and_both_gradients_and_serve_every_size_and_width() -> None:
    from torch._dynamo.utils import counters

    for chain in (style_chain, statistics_chain):
        for size, images in ((6, 2), (8, 3)):
            inputs = inputs_of(chain, size, images)
            everything = tuple(range(len(inputs)))
            found = results(chain, inputs, everything, on=True)
            for a, b in zip(found, results(chain, inputs, everything, on=False), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
            compiled = counters["stats"]["unique_graphs"]
        # A third size stands for a new level, for which nothing is compiled.
        results(chain, inputs_of(chain, 16, 4), everything, on=True)
        assert counters["stats"]["unique_graphs"] == compiled
