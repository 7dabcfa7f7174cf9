"""Random draws named by (seed, nimg, name): the same for any number of ranks and any micro-batch, with no state to save."""

import torch
from torch import Tensor

from alae_core.seeds import named_seed as named_seed


def generator(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Random generator on `device`, seeded by `parts`."""
    return torch.Generator(device).manual_seed(named_seed(*parts))


def normal(shape: tuple[int, ...], device: torch.device, *parts: int | str) -> Tensor:
    """Standard normal float32 noise of a shape, determined by `parts`."""
    return torch.randn(shape, generator=generator(device, *parts), device=device)


def uniform(shape: tuple[int, ...], device: torch.device, *parts: int | str) -> Tensor:
    """Uniform float32 noise in [0, 1) of a shape, determined by `parts`."""
    return torch.rand(shape, generator=generator(device, *parts), device=device)
