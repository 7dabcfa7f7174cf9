"""Find the layer, term or gradient in which a value first stopped being finite, by repeating the failed update."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def place(networks: Mapping[str, nn.Module], run: Callable[[], Mapping[str, Tensor]]) -> str:
    """Describe where the first value that is not finite appears when `run` (forward and backward) is repeated.

    Names the first layer with such an output, for example "encoder.blocks.2.conv1"; otherwise a term; otherwise the first
    parameter with such a gradient. `run` returns its terms and must draw the same noise as before.
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
            # The engine checks the norm, in which squares can overflow although no value does.
            if parameter.grad is not None and not _finite(torch.linalg.vector_norm(parameter.grad)):
                return f"first in the gradient of {role}.{name}"
    return "in another rank's images"


def _note(name: str, found: list[str]) -> Callable[..., None]:
    """Forward hook that appends `name` to `found` if it is the first; inner layers are called before outer ones."""

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
