"""Equalised layers, blur, instance statistics and style modulation.

ProGAN, section 4.1; StyleGAN, section 2; ALAE, section 4.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function

from alae_core.convolution import convolve
from alae_core.fused import fused

LEAK = 0.2


LOG_VARIANCE_BOUNDS = (-30.0, 20.0)
"""Range of a posterior's log-variance; outside it the variance or its inverse would soon overflow."""


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32, because a sum of many values would lose its digits; leave other dtypes alone."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def posterior(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Split codes [N, 2D] into mean and bounded log-variance, float32 [N, D] each.

    KL divergences in half precision would lose their digits.
    """
    mean, log_variance = at_least_float32(codes).chunk(2, 1)
    return mean, log_variance.clamp(*LOG_VARIANCE_BOUNDS)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, the slope of all networks of this family."""
    return F.leaky_relu(x, LEAK)


class EqualLinear(nn.Module):
    """Linear layer [N, inputs] -> [N, outputs] with an equalised learning rate (ProGAN, section 4.1).

    Weights are stored as N(0, 1 / lr_multiplier^2) and scaled by gain / sqrt(inputs) * lr_multiplier in every forward pass.
    """

    def __init__(self, inputs: int, outputs: int, gain: float = math.sqrt(2.0), lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_scale = gain / math.sqrt(inputs) * lr_multiplier
        self.bias_scale = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_scale, self.bias * self.bias_scale)


class EqualConv(nn.Module):
    """Same-size convolution with an equalised learning rate; it has no bias unless `bias` is true."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, gain: float = math.sqrt(2.0), bias: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel * kernel)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight * self.scale, self.bias, padding=self.padding)


class _DoubledConv(EqualConv):
    """A 3x3 convolution and a 2x resampling as one 4x4 kernel: the sum of four shifted copies of the 3x3 kernel.

    The shifts form one constant matrix [16, 9], so a small matrix product makes the kernel.
    """

    shifts: Tensor

    def __init__(self, inputs: int, outputs: int, *, flipped: bool, share: float) -> None:
        super().__init__(inputs, outputs, 3)
        self.register_buffer("shifts", _shifts(flipped).t().contiguous() * share, persistent=False)

    def kernel(self, weight: Tensor) -> Tensor:
        """The 4x4 kernel [a, b, 4, 4] of a weight [a, b, 3, 3], channels last in memory, which is fastest to convolve."""
        taps = (weight * self.scale).permute(0, 2, 3, 1).flatten(1, 2)
        return (self.shifts @ taps).unflatten(1, (4, 4)).permute(0, 3, 1, 2)


class UpConv(_DoubledConv):
    """Nearest-neighbour upsampling and a 3x3 convolution as one transposed convolution: [N, C, H, W] -> [N, D, 2H, 2W].

    The linear map is exactly the same, borders included, with 2.25 times fewer operations (StyleGAN's "fused" form).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, flipped=True, share=1.0)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel(self.weight.transpose(0, 1))
        return convolve(x, kernel, stride=2, padding=1, transposed=True)


class DownConv(_DoubledConv):
    """A 3x3 convolution and 2x2 average pooling as one strided convolution: [N, C, H, W] -> [N, D, H/2, W/2].

    The linear map is exactly the same, with 2.25 times fewer operations.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, flipped=False, share=0.25)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernel(self.weight), stride=2, padding=1)


def _shifts(flipped: bool) -> Tensor:
    """Matrix [9, 16] of zeros and ones: the places of each tap of a 3x3 kernel in the 4x4 kernel."""
    taps = torch.eye(9).view(9, 3, 3)
    taps = taps.flip(1, 2) if flipped else taps
    rows = F.pad(taps, (0, 0, 0, 1)) + F.pad(taps, (0, 0, 1, 0))
    return (F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))).flatten(1)


class Blur(nn.Module):
    """Depthwise binomial filter [1, 2, 1] x [1, 2, 1] / 16 with zero padding."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = (line[:, None] * line[None, :] / 16.0).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        blurred: Tensor = _Blurred.apply(x, self.kernel)
        return blurred


class _Blurred(Function):
    """Blur whose gradient is the same blur, because the filter is symmetric and the padding is zero.

    torch's own gradient of a depthwise convolution takes five times as long on CPUs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.kernel = kernel
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Blurred.apply(gradient, ctx.kernel.to(gradient.dtype)), None


class StyleModulation(nn.Module):
    """Scale and shift each channel of x [N, C, H, W] by a learned affine map of a style [N, D].

    x * (s0 + 1) + s1 with [s0, s1] = A w; AdaIN's second half (StyleGAN, section 2).
    """

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.affine = EqualLinear(latent, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return modulate(x, self.affine(style))


def pixel_norm(x: Tensor) -> Tensor:
    """Divide [N, D] by its root mean square over D, or [N, C, H, W] by that over C."""
    # x / sqrt(mean_j x_j^2 + 1e-8) (ProGAN, section 4.2)
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def instance_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Normalise each channel of [N, C, H, W] over H and W, with the biased variance and without affine parameters."""
    # torch's group norm computes the variance as a difference of means, which is noise if a channel is constant, as every
    # channel of the 4x4 block is at the start.
    _, centred, variance = _moments(x)
    return centred * torch.rsqrt(variance + eps)


@fused
def activated(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias [C] to x [N, C, H, W] and apply leaky ReLU."""
    return leaky_relu(x + bias.view(1, -1, 1, 1))


@fused
def activated_styled(x: Tensor, bias: Tensor, style: Tensor) -> Tensor:
    """Add a bias [C] to x [N, C, H, W], then apply leaky ReLU, instance norm and the style [N, 2C]."""
    return modulate(instance_norm(leaky_relu(x + bias.view(1, -1, 1, 1))), style)


@fused
def noisy_styled(x: Tensor, bias: Tensor, noise: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """As `activated_styled`, with noise [N, 1, H, W], weighted per channel by `weight` [C], added before the activation."""
    x = torch.addcmul(x + bias.view(1, -1, 1, 1), noise, weight.view(1, -1, 1, 1))
    return modulate(instance_norm(leaky_relu(x)), style)


@cache
def activated_statistics(deviation_eps: float, norm_eps: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Build a function of x [N, C, H, W] and a bias [C] that returns the style statistics [N, 2C] and the normalised x.

    It adds the bias and applies leaky ReLU first. `deviation_eps` is under the root of the deviation, `norm_eps` under
    that of the normalisation.
    """

    @fused
    def statistics(x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        x = leaky_relu(x + bias.view(1, -1, 1, 1))
        style, normed = style_statistics(x, deviation_eps)
        return style, normed if norm_eps == deviation_eps else instance_norm(x, norm_eps)

    return statistics


def modulate(x: Tensor, style: Tensor) -> Tensor:
    """Scale and shift x [N, C, H, W] by the style [N, 2C] = [s0, s1]: x * (s0 + 1) + s1."""
    scale, shift = style[:, :, None, None].chunk(2, 1)
    return torch.addcmul(shift, x, scale + 1.0)


def style_statistics(x: Tensor, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, [N, 2C], and the normalised x [N, C, H, W] (ALAE, section 4.1).

    `eps` is added under the root; without it the gradient of a constant channel is infinite.
    """
    mean, centred, variance = _moments(x)
    deviation = torch.sqrt(variance + eps)
    style = torch.cat([mean, deviation], 1).flatten(1)
    return style, centred * deviation.reciprocal()


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over H and W, x minus that mean, and biased variance; in two passes, 8 times as fast as torch.var_mean on CPUs."""
    mean = x.mean((2, 3), keepdim=True)
    centred = x - mean
    return mean, centred, centred.square().mean((2, 3), keepdim=True)


def upsample(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling: [N, C, H, W] -> [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def downsample(x: Tensor) -> Tensor:
    """2x2 average pooling: [N, C, H, W] -> [N, C, H/2, W/2]."""
    return F.avg_pool2d(x, 2)


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Append to x [N, C, H, W] one channel with the standard deviation within each group of images (ProGAN, section 3).

    A group is `group` consecutive images, so splitting a batch between groups changes nothing; StyleGAN's code takes
    every N/group-th image. Raises ValueError if N is not a multiple of `group`.
    """
    images, _, height, width = x.shape
    if images % group:
        raise ValueError(
            f"{images} images do not divide into the groups of {group} that the minibatch deviation is taken over; "
            f"give a multiple of {group}"
        )
    # In half precision the variance of similar images would vanish.
    groups = at_least_float32(x).unflatten(0, (-1, group))
    centred = groups - groups.mean(1, keepdim=True)
    deviation = torch.sqrt(centred.square().mean(1) + 1e-8).mean((1, 2, 3)).repeat_interleave(group)
    return torch.cat([x, deviation.to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, height, width)], 1)
