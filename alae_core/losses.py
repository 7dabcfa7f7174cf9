"""Stateless loss terms. Each returns one value per image, [N]; the engine takes the mean over the batch.

The equation of each term stands above it with its source. D(x) are logits or critic values, G(z) fakes, x reals.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


# softplus(-D(x)) = -log sigmoid(D(x)) (Goodfellow et al. 2014, section 3; NVlabs/stylegan, D_logistic_simplegp)
def logistic_real(logits: Tensor) -> Tensor:
    """Logistic loss of logits [N] that should be high: those of reals, or of fakes in the generator's update."""
    return F.softplus(-logits)


# softplus(D(G(z))) = -log(1 - sigmoid(D(G(z)))) (Goodfellow et al. 2014, section 3; NVlabs/stylegan, D_logistic_simplegp)
def logistic_fake(logits: Tensor) -> Tensor:
    """Logistic loss of logits [N] that should be low: those of fakes in the discriminator's update."""
    return F.softplus(logits)


# R1: gamma/2 E_x ||grad D(x)||^2 (Mescheder et al. 2018, eq. 9)
def r1_penalty(logits: Tensor, images: Tensor, gamma: float) -> Tensor:
    """R1 gradient penalty of logits [N] on real images [N, C, H, W], which must be in the logits' graph.

    The squared gradient is summed over C, H and W; the result can be differentiated again.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1) * (gamma / 2)


# 1/D ||w - w'||^2 (the official ALAE's losses.py, reconstruction: a mean over D; the paper's norm is a sum)
def latent_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared difference of two codes [N, D], averaged over D."""
    return (prediction - target).square().mean(1)


# L_AE = ||x - x_r||^2, pixels in [0, 1] (IntroVAE's main.py has no factor; the paper has 1/2)
def squared_error(images: Tensor, target: Tensor) -> Tensor:
    """Squared difference of images [N, C, H, W] in [-1, 1], summed over C, H and W as if pixels were in [0, 1].

    Halving the range quarters the square, hence the division by 4.
    """
    return _at_least_float32(images - target).square().flatten(1).sum(1) / 4


# L_REG = KL(N(mu, s^2) || N(0, 1)) = 1/2 sum_j (mu_j^2 + s_j^2 - 1 - log s_j^2) (Kingma and Welling 2014, appendix B)
def normal_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)), both [N, D], from N(0, 1), summed over D, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)


def group_means(values: Tensor, group: int) -> Tensor:
    """Mean of each group of `group` consecutive images: [N] -> [N / group]; ValueError if `group` does not divide N."""
    if len(values) % group:
        raise ValueError(f"{len(values)} images do not divide into groups of {group}; give a multiple of {group}")
    return values.unflatten(0, (-1, group)).mean(1)


# [m - KL(E(x_s))]+ (IntroVAE, eq. 11)
def hinge_below(values: Tensor, margin: Tensor) -> Tensor:
    """Distance of each value below the margin, 0 for values above it."""
    return torch.relu(margin - values)


# exp(-2 s (b_rec L_r(x_s) + b_neg KL(x_s))) (Soft-IntroVAE; official code, soft_intro_vae/train_soft_intro_vae.py)
def exponential_elbo(error: Tensor, kl: Tensor, scale: float, error_weight: float, kl_weight: float) -> Tensor:
    """Exponential of the weighted negative loss of each fake, in (0, 1]; 1 if the VAE models the fake as well as possible.

    `error` [N] is its squared error, `kl` [N] its KL divergence in nats, `scale` is s.
    """
    exponent = -2.0 * scale * (error_weight * error + kl_weight * kl)
    # Values below exp(-40) vanish beside the terms of reals, and their denormal gradients are ten times slower on CPUs.
    return torch.exp(exponent.clamp(min=-40.0))


# -D(x) (WGAN; NVlabs/stylegan, D_wgan_gp)
def critic_real(values: Tensor) -> Tensor:
    """Wasserstein loss of critic values [N] that should be high: those of reals, or of fakes in the generator's update."""
    return -values


# D(G(z)) (WGAN; NVlabs/stylegan, D_wgan_gp)
def critic_fake(values: Tensor) -> Tensor:
    """Wasserstein loss of critic values [N] that should be low; the sum with `critic_real` is minus the Wasserstein estimate."""
    return values


# (||grad D(x^)||_2 - target)^2 / target^2 (Gulrajani et al. 2017, section 4; target: NVlabs/stylegan, D_wgan_gp)
def gradient_penalty(values: Tensor, images: Tensor, target: float) -> Tensor:
    """Squared relative deviation of the gradient's norm from `target`, for critic values [N] of interpolated images x^.

    `images` [N, C, H, W] lie between reals and fakes and must be in the values' graph; the norm is over C, H and W.
    """
    (gradient,) = torch.autograd.grad(values.sum(), images, create_graph=True)
    # torch defines the gradient of this norm at 0, but not that of a square root.
    norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return (norm / target - 1.0).square()


# D(x)^2, weighted by eps_drift (ProGAN, appendix A.1)
def drift(values: Tensor) -> Tensor:
    """Square of critic values [N] on reals, which keeps them near zero."""
    return values.square()


# mean (D(x) - 1)^2 (LSGAN without its 1/2; NVlabs/MUNIT networks.py, calc_dis_loss and calc_gen_loss)
def lsgan_real(values: Tensor) -> Tensor:
    """Least-squares loss of logit maps [N, ...] that should be 1, averaged over each map.

    For maps of reals, or of fakes in the generator's update.
    """
    return _per_image((_at_least_float32(values) - 1.0).square())


# mean D(G(z))^2 (LSGAN without its 1/2; NVlabs/MUNIT networks.py, calc_dis_loss)
def lsgan_fake(values: Tensor) -> Tensor:
    """Least-squares loss of logit maps [N, ...] that should be 0, averaged over each map."""
    return _per_image(_at_least_float32(values).square())


# mean |a - b|, the L1 of MUNIT's and NICE-GAN's reconstruction terms
def mean_absolute(values: Tensor, target: Tensor) -> Tensor:
    """Absolute difference of two tensors [N, ...], averaged over all dimensions but the first."""
    return _per_image(_at_least_float32(values - target).abs())


# mean (IN(phi(x_ab)) - IN(phi(x_a)))^2 (MUNIT, section 5.1; NVlabs/MUNIT trainer.py, compute_vgg_loss)
def perceptual(features: Tensor, target: Tensor) -> Tensor:
    """Domain-invariant perceptual loss of two feature maps [N, C, h, w].

    Instance norm first removes each channel's mean and variance, which carry the style of a domain.
    """
    normalised = (F.instance_norm(_at_least_float32(maps)) for maps in (features, target))
    return _per_image(torch.sub(*normalised).square())


def deviation(values: Tensor) -> Tensor:
    """Unbiased standard deviation of [N, ...] over all dimensions but the first."""
    return _at_least_float32(values).flatten(1).std(1)


def _per_image(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _at_least_float32(values: Tensor) -> Tensor:
    # A mean of many values in half precision would lose its digits.
    return values.to(torch.promote_types(values.dtype, torch.float32))
