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


def critic_real(values: Tensor) -> Tensor:
    """-values: small where a critic rates reals high (WGAN; also the generator's loss on fakes)."""
    return -values


def critic_fake(values: Tensor) -> Tensor:
    """The values themselves: small where a critic rates fakes low; with `critic_real`, minus the Wasserstein estimate."""
    return values


def gradient_penalty(values: Tensor, images: Tensor, target: float) -> Tensor:
    """(|d values / d images| - target)^2 / target^2, the norm over C, H, W (WGAN-GP, eq. 3; target: ProGAN, appendix A.1).

    `images` lie between reals and fakes; needs a graph to them.
    """
    (gradient,) = torch.autograd.grad(values.sum(), images, create_graph=True)
    # Of this norm torch knows a gradient at 0, of a square root none.
    norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norm / target - 1.0).square()


def drift(values: Tensor) -> Tensor:
    """values^2: keeps a critic's values on reals near zero (ProGAN, appendix A.1)."""
    return values.square()
