"""Where a number first stopped being finite: run once more what failed, and look at every layer."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def place(networks: Mapping[str, nn.Module], run: Callable[[], Mapping[str, Tensor]]) -> str:
    """Words for where it began when `run`, forward and backward, is repeated.

    That is the first layer whose output is not finite, such as "encoder.blocks.2.conv1"; else a term; else the first
    parameter whose gradient is not. `run` must draw the same noise again, and gives its terms.
    """
    for network in networks.values():
        network.zero_grad(set_to_none=True)
    found: list[str] = []
    layers = {f"{role}.{name}".rstrip("."): layer for role, n in networks.items() for name, layer in n.named_modules()}
    hooks = [layer.register_forward_hook(_note(name, found)) for name, layer in layers.items()]
    try:
        terms = run()
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return f"first in the output of {found[0]}"
    if broken := [name for name, term in terms.items() if not _finite(term)]:
        return f"first in the term {broken[0]} itself, of finite outputs"
    for role, network in networks.items():
        for name, parameter in network.named_parameters():
            # By the norm, as the engine judges: squares can overflow where the numbers do not.
            if parameter.grad is not None and not _finite(torch.linalg.vector_norm(parameter.grad)):
                return f"first in the gradient of {role}.{name}"
    return "in another rank's images"


def _note(name: str, found: list[str]) -> Callable[..., None]:
    """A forward hook; layers report before what they are part of."""

    def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
        if not found and not all(_finite(tensor) for tensor in _tensors(output)):
            found.append(name)

    return hook


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors(part)] if isinstance(output, (tuple, list)) else []


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
