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


def squared_error(images: Tensor, target: Tensor) -> Tensor:
    """|images - target|^2 summed over C, H, W, in units of the pixel range: a quarter of that of values in [-1, 1]."""
    return _at_least_float32(images - target).square().flatten(1).sum(1) / 4


def normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) to N(0, 1), summed over the dimensions of two [N, D], in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)


def group_means(values: Tensor, group: int) -> Tensor:
    """[N] -> [N / group], the mean of each `group` images in a row; raises ValueError where they do not come out even."""
    if len(values) % group:
        raise ValueError(f"{len(values)} images do not divide into groups of {group}; give a multiple of {group}")
    return values.unflatten(0, (-1, group)).mean(1)


def hinge_below(values: Tensor, margin: Tensor) -> Tensor:
    """max(0, margin - values): small where values are above the margin (IntroVAE, eq. 11)."""
    return torch.relu(margin - values)


def exponential_elbo(error: Tensor, kl: Tensor, scale: float, error_weight: float, kl_weight: float) -> Tensor:
    """exp(-2 scale (error_weight error + kl_weight kl)), in (0, 1]: 1 where a fake passes for real (Soft-IntroVAE, eq. 7)."""
    exponent = -2.0 * scale * (error_weight * error + kl_weight * kl)
    # Below exp(-40) it is lost beside the reals' terms, and gradients become denormal: ten times slower on CPUs.
    return torch.exp(exponent.clamp(min=-40.0))


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


def lsgan_real(values: Tensor) -> Tensor:
    """Mean of (values - 1)^2 over a map [N, ...]: small where it says real (LSGAN without the 1/2; also the generator's loss)."""
    return _per_image((_at_least_float32(values) - 1.0).square())


def lsgan_fake(values: Tensor) -> Tensor:
    """Mean of values^2 over a map [N, ...]: small where it says fake (LSGAN without the 1/2)."""
    return _per_image(_at_least_float32(values).square())


def mean_absolute(values: Tensor, target: Tensor) -> Tensor:
    """Mean of |values - target| over all but the first dimension of two [N, ...]."""
    return _per_image(_at_least_float32(values - target).abs())


def perceptual(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two feature maps [N, C, h, w] whose channels have mean 0 and variance 1 in each image.

    Without what instance norm takes, the style, which a domain has of its own (MUNIT, section 5.1).
    """
    normalised = (F.instance_norm(_at_least_float32(maps)) for maps in (features, target))
    return _per_image(torch.sub(*normalised).square())


def deviation(values: Tensor) -> Tensor:
    """Standard deviation over all but the first dimension of [N, ...]."""
    return _at_least_float32(values).flatten(1).std(1)


def _per_image(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _at_least_float32(values: Tensor) -> Tensor:
    # In half precision a mean of many values would lose its digits.
    return values.to(torch.promote_types(values.dtype, torch.float32))
