"""Perceptual path length: how far an image moves for a small step of its code (StyleGAN, section 4.1)."""

from collections.abc import Callable

import torch
from torch import Tensor

Generate = Callable[[Tensor], Tensor]
"""Codes [n, D] -> images [n, C, R, R]; with the same noise at every call."""
Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of images -> [n], growing with the square of a small difference, as LPIPS does."""

EPSILON = 1e-4


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Straight line from `a` to `b` [n, D] at `t` [n]: for codes in W."""
    return torch.lerp(a, b, t.unsqueeze(1))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Great circle between the directions of `a` and `b` [n, D] at `t` [n], of length 1: for codes in Z."""
    a, b = _unit(a), _unit(b)
    cosine = (a * b).sum(1, keepdim=True).clamp(-1.0, 1.0)
    angle = t.unsqueeze(1) * torch.acos(cosine)
    across = _unit(b - cosine * a)
    return _unit(a * torch.cos(angle) + across * torch.sin(angle))


def path_lengths(
    generate: Generate,
    distance: Distance,
    start: Tensor,
    end: Tensor,
    t: Tensor,
    *,
    interpolate: Callable[[Tensor, Tensor, Tensor], Tensor] = lerp,
    epsilon: float = EPSILON,
) -> Tensor:
    """d(G(path(t)), G(path(t + epsilon))) / epsilon^2 [n], for paths from `start` to `end` [n, D] at `t` [n].

    t uniform in [0, 1) gives the "full" length, t = 0 that at the "end".
    """
    here = generate(interpolate(start, end, t))
    there = generate(interpolate(start, end, t + epsilon))
    return distance(here, there) / epsilon**2


def filtered_mean(lengths: Tensor) -> float:
    """The mean of the lengths [n] within their 1st and 99th percentile, both included."""
    lengths = lengths.double()
    low = torch.quantile(lengths, 0.01, interpolation="lower")
    high = torch.quantile(lengths, 0.99, interpolation="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)
