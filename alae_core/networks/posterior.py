"""Posterior of an image from its style, which makes StyleALAE's encoder that of a VAE (Style-Soft-IntroVAE).

Deviation from the official code: the last layer is not activated; there leaky ReLU multiplies all negative values by 0.2.
"""

from itertools import pairwise

from torch import Tensor, nn

from alae_core.layers import EqualLinear, leaky_relu, posterior

LAYERS = 3


class StylePosterior(nn.Module):
    """MLP: style [N, D] -> mean and bounded log-variance of the posterior, float32 [N, D] each."""

    def __init__(self, latent: int, lr_multiplier: float) -> None:
        super().__init__()
        sizes = (*(latent,) * LAYERS, 2 * latent)
        self.layers = nn.ModuleList(EqualLinear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(sizes))

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        *hidden, last = self.layers
        for layer in hidden:
            w = leaky_relu(layer(w))
        return posterior(last(w))
