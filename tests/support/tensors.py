"""Comparisons of nested tensors, and double precision, for tests that need only torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from alae_core import images
from alae_core.state import TrainState


def flat(value: Any) -> dict[str, Any]:
    """Every tensor (cloned) and plain value of nested dictionaries and lists, by its path."""
    if isinstance(value, Tensor):
        return {"": value.detach().clone()}
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {f"{key}.{path}": leaf for key, inner in items for path, leaf in flat(inner).items()}
    return {"": value}


def differing(first: Any, second: Any) -> list[str]:
    """Paths at which two nested values are not bit-identical."""
    a, b = flat(first), flat(second)
    same = {key for key in a.keys() & b.keys() if _equal(a[key], b[key])}
    return sorted((a.keys() | b.keys()) - same)


def distance(first: Any, second: Any) -> float:
    """The largest absolute difference between the tensors of two nested values of the same form."""
    a, b = flat(first), flat(second)
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a if isinstance(a[key], Tensor) and a[key].numel())


def vector(network: nn.Module) -> Tensor:
    """Copy of all parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def networks_of(state: TrainState) -> dict[str, dict[str, Tensor]]:
    """Copies of the parameters and buffers of the networks."""
    return {
        name: {key: tensor.clone() for key, tensor in network.state_dict().items()}
        for name, network in state.algorithm.networks.items()
    }


@contextmanager
def float64() -> Iterator[None]:
    """Compute in double precision, so that the order of summation has almost no effect."""
    original = images.to_float
    torch.set_default_dtype(torch.float64)
    images.to_float = lambda images: original(images).double()
    try:
        yield
    finally:
        images.to_float = original
        torch.set_default_dtype(torch.float32)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)
