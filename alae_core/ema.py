"""Exponential moving averages of networks, with a half-life in images (ProGAN, section A.1; StyleGAN, appendix C)."""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import nn


def averaged_copies(networks: Mapping[str, nn.Module], names: Iterable[str]) -> dict[str, nn.Module]:
    """Exact frozen copies of the named networks, in evaluation mode."""
    return {name: copy.deepcopy(networks[name]).eval().requires_grad_(False) for name in names}


@torch.no_grad()
def update_averages(
    averages: Mapping[str, nn.Module],
    networks: Mapping[str, nn.Module],
    batch_size: int,
    half_life_kimg: float,
) -> None:
    """Move each average towards its network after a batch of `batch_size` images.

    After `half_life_kimg` thousand images half of the old value is left; 0 makes the averages equal the networks. Buffers
    are copied, not averaged.
    """
    # ema <- decay ema + (1 - decay) theta with decay = 0.5^(batch / half-life) (NVlabs/stylegan, training_loop.py)
    decay = 0.5 ** (batch_size / (1000.0 * half_life_kimg)) if half_life_kimg > 0 else 0.0
    for name, average in averages.items():
        torch._foreach_lerp_(list(average.parameters()), list(networks[name].parameters()), 1.0 - decay)
        for target, source in zip(average.buffers(), networks[name].buffers(), strict=True):
            target.copy_(source)
