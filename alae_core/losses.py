"""Stateless loss terms; each returns one value per image, [N]."""

import torch
import torch.nn.functional as F
from torch import Tensor


def logistic_real(logits: Tensor) -> Tensor:
    """-log sigmoid(logits): small where reals score high (also the generator's non-saturating loss on fakes)."""
    return F.softplus(-logits)


def logistic_fake(logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(logits)): small where fakes score low."""
    return F.softplus(logits)


def r1_penalty(logits: Tensor, images: Tensor, gamma: float) -> Tensor:
    """(gamma / 2) |d logits / d images|^2, summed over C, H, W (Mescheder et al. 2018, eq. 9). Needs a graph to `images`."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1) * (gamma / 2)


def latent_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over dimensions of the squared difference of two [N, D] codes."""
    return (prediction - target).square().mean(1)
