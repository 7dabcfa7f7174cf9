"""Fully connected networks on codes: the mapping F from Z to W, and ALAE's linear discriminator on W."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from alae_core.layers import EqualLinear, leaky_relu, pixel_norm


class Mapping(nn.Module):
    """Mapping F: z [N, D], normalised to a root mean square of 1, -> w [N, D] (StyleGAN, section 2).

    The buffer `w_mean` holds the running mean of w for truncation.
    """

    w_mean: Tensor

    def __init__(self, latent: int, layers: int, lr_multiplier: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(latent, latent, lr_multiplier=lr_multiplier) for _ in range(layers))
        self.register_buffer("w_mean", torch.zeros(latent))

    def forward(self, z: Tensor) -> Tensor:
        w = pixel_norm(z)
        for layer in self.layers:
            w = leaky_relu(layer(w))
        return w

    @torch.no_grad()
    def follow_mean(self, z: Tensor, decay: float) -> None:
        """Move `w_mean` towards the mean of F(z) over z [N, D], keeping a share `decay` of it."""
        self.w_mean.lerp_(self(z).mean(0), 1.0 - decay)


class LinearDiscriminator(nn.Module):
    """Discriminator D: w [N, D] -> logits [N], three linear layers without activations (as in the official ALAE).

    With `dead_outputs` it has 2 D outputs, of which index D is the logit, as in the official code.
    """

    def __init__(self, latent: int, lr_multiplier: float, dead_outputs: bool = False) -> None:
        super().__init__()
        sizes = (latent, latent, latent, 2 * latent if dead_outputs else 1)
        self.layers = nn.ModuleList(EqualLinear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(sizes))
        self.logit = latent if dead_outputs else 0

    def forward(self, w: Tensor) -> Tensor:
        for layer in self.layers:
            w = layer(w)
        return w[:, self.logit]
