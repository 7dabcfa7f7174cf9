"""Codes in W: style mixing and truncation (StyleGAN, sections 3.1 and B)."""

import torch
from torch import Tensor


def broadcast_styles(w: Tensor, layers: int) -> Tensor:
    """One code for all layers: [N, D] -> [N, layers, D]."""
    return w.unsqueeze(1).expand(-1, layers, -1)


def mix_styles(coarse: Tensor, fine: Tensor, cut: Tensor, layers: int) -> Tensor:
    """Layers below `cut` [N] take `coarse` [N, D], the others `fine` -> [N, layers, D]."""
    below = torch.arange(layers, device=cut.device).view(1, -1, 1) < cut.view(-1, 1, 1)
    return torch.where(below, coarse.unsqueeze(1), fine.unsqueeze(1))


def random_cuts(coin: Tensor, position: Tensor, probability: float, layers: int) -> Tensor:
    """Where each image's styles change: uniform in 1..layers-1 with `probability`, else `layers` (no mixing).

    `coin` and `position` are uniform [N] in [0, 1).
    """
    cut = 1 + (position * (layers - 1)).floor().long().clamp_(max=layers - 2)
    return torch.where(coin < probability, cut, layers)


def truncate(styles: Tensor, mean: Tensor, psi: float, cutoff: int) -> Tensor:
    """Pull the first `cutoff` layers of [N, layers, D] towards the mean style [D]; psi 1 changes nothing."""
    near = torch.lerp(mean.expand_as(styles), styles, psi)
    return torch.cat([near[:, :cutoff], styles[:, cutoff:]], 1)
