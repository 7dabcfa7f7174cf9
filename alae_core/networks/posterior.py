"""From a style to the posterior of its image: what makes StyleALAE's encoder that of a VAE (Style-Soft-IntroVAE).

Deviation from the official code: the last layer is not activated. There it is, which shrinks all below zero to a fifth.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from alae_core.layers import LOG_VARIANCE_BOUNDS, EqualLinear, leaky_relu

LAYERS = 3


class StylePosterior(nn.Module):
    """w [N, D] -> mean and bounded log-variance, float32 [N, D] each."""

    def __init__(self, latent: int, lr_multiplier: float) -> None:
        super().__init__()
        sizes = (*(latent,) * LAYERS, 2 * latent)
        self.layers = nn.ModuleList(EqualLinear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(sizes))

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        *hidden, last = self.layers
        for layer in hidden:
            w = leaky_relu(layer(w))
        codes = last(w)
        # In half precision the divergences would lose their digits.
        mean, log_variance = codes.to(torch.promote_types(codes.dtype, torch.float32)).chunk(2, 1)
        return mean, log_variance.clamp(*LOG_VARIANCE_BOUNDS)
