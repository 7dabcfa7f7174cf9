"""Noise named by (seed, nimg, name): the same for every rank count and micro-batch, with nothing to checkpoint."""

import hashlib

import torch
from torch import Tensor


def named_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on their order."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """A generator on `device`, seeded by `parts`."""
    return torch.Generator(device).manual_seed(named_seed(*parts))


def normal(shape: tuple[int, ...], device: torch.device, *parts: int | str) -> Tensor:
    """Standard normal float32 noise named by `parts`."""
    return torch.randn(shape, generator=generator(device, *parts), device=device)


def uniform(shape: tuple[int, ...], device: torch.device, *parts: int | str) -> Tensor:
    """Uniform float32 noise in [0, 1) named by `parts`."""
    return torch.rand(shape, generator=generator(device, *parts), device=device)
