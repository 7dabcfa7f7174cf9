"""Codes in W: style mixing and truncation (StyleGAN, sections 3.1 and B)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def broadcast_styles(w: Tensor, layers: int) -> Tensor:
    """Repeat one code for all layers: [N, D] -> [N, layers, D]."""
    return w.unsqueeze(1).expand(-1, layers, -1)


def mix_styles(coarse: Tensor, fine: Tensor, cut: Tensor, layers: int) -> Tensor:
    """Styles [N, layers, D] with `coarse` [N, D] in the layers below `cut` [N] and `fine` [N, D] in the others."""
    below = torch.arange(layers, device=cut.device).view(1, -1, 1) < cut.view(-1, 1, 1)
    return torch.where(below, coarse.unsqueeze(1), fine.unsqueeze(1))


def random_cuts(coin: Tensor, position: Tensor, probability: float, layers: int, *, with_last: bool = False) -> Tensor:
    """Layer [N] at which each image changes its style: uniform in 1..layers-1 with `probability`, else `layers` (no mixing).

    `coin` and `position` are uniform [N] in [0, 1). `with_last` draws from 1..layers, as the official ALAE does.
    """
    choices = layers if with_last else layers - 1
    cut = 1 + (position * choices).floor().long().clamp_(max=choices - 1)
    return torch.where(coin < probability, cut, layers)


def truncate(styles: Tensor, mean: Tensor, psi: Sequence[float]) -> Tensor:
    """Truncate styles [N, layers, D] towards the mean style [D], with one psi per layer; psi = 1 leaves a layer as it is."""
    # w' = w_mean + psi (w - w_mean) (StyleGAN, appendix B)
    if all(share == 1.0 for share in psi):
        return styles
    shares = styles.new_tensor(psi).view(1, -1, 1)
    return torch.where(shares == 1.0, styles, torch.lerp(mean.expand_as(styles), styles, shares))
