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
"""Of a posterior: beyond them its variance, or the variance's inverse, would soon overflow."""


def at_least_float32(x: Tensor) -> Tensor:
    """x, in float32 if it is in half precision: what is summed over many numbers would lose its digits there."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def posterior(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and bounded log-variance, float32 [N, D] each, of [N, 2D]; in half precision divergences would lose their digits."""
    mean, log_variance = at_least_float32(codes).chunk(2, 1)
    return mean, log_variance.clamp(*LOG_VARIANCE_BOUNDS)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, as everywhere in this family."""
    return F.leaky_relu(x, LEAK)


class EqualLinear(nn.Module):
    """Linear layer with a runtime-scaled weight: effective He scale `gain`, learning rate times `lr_multiplier`."""

    def __init__(self, inputs: int, outputs: int, gain: float = math.sqrt(2.0), lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_scale = gain / math.sqrt(inputs) * lr_multiplier
        self.bias_scale = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_scale, self.bias * self.bias_scale)


class EqualConv(nn.Module):
    """Same-size convolution with a runtime-scaled weight; the bias is left to the caller unless asked for."""

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
    """A 3x3 convolution over 2x2 blocks as one 4x4 kernel, the sum of the 3x3 kernel's four shifts.

    The shifts are one constant matrix [16, 9], so that a small product makes the kernel.
    """

    shifts: Tensor

    def __init__(self, inputs: int, outputs: int, *, flipped: bool, share: float) -> None:
        super().__init__(inputs, outputs, 3)
        self.register_buffer("shifts", _shifts(flipped).t().contiguous() * share, persistent=False)

    def kernel(self, weight: Tensor) -> Tensor:
        """[a, b, 3, 3] -> [a, b, 4, 4], channels last in memory, as the convolutions want it."""
        taps = (weight * self.scale).permute(0, 2, 3, 1).flatten(1, 2)
        return (self.shifts @ taps).unflatten(1, (4, 4)).permute(0, 3, 1, 2)


class UpConv(_DoubledConv):
    """Nearest-neighbour upsampling and a 3x3 convolution, as one transposed convolution.

    Exactly the same linear map, borders included, with 2.25 times fewer operations (StyleGAN's "fused" form).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, flipped=True, share=1.0)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel(self.weight.transpose(0, 1))
        return convolve(x, kernel, stride=2, padding=1, transposed=True)


class DownConv(_DoubledConv):
    """A 3x3 convolution and the mean of 2x2 blocks, as one strided convolution; exact, 2.25 times fewer operations."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, flipped=False, share=0.25)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernel(self.weight), stride=2, padding=1)


def _shifts(flipped: bool) -> Tensor:
    """[9, 16]: where each tap of a 3x3 kernel lands in the 4x4 kernel."""
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
    """The filter is symmetric and its borders are zero, so that its gradient is itself: a forward convolution, where
    torch's own gradient of a depthwise convolution takes five times as long on CPUs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.kernel = kernel
        return F.conv2d(x, kernel, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Blurred.apply(gradient, ctx.kernel.to(gradient.dtype)), None


class StyleModulation(nn.Module):
    """Scale and shift each channel by a learned affine map of a style: x * (s0 + 1) + s1."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.affine = EqualLinear(latent, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return modulate(x, self.affine(style))


def pixel_norm(x: Tensor) -> Tensor:
    """Divide [N, D] by its root mean square over D."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


def instance_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Normalise each channel of each image over H, W; biased variance, no affine."""
    # Not torch's group norm: it takes the variance as a difference of means, which is noise where a channel is constant,
    # as every channel of the 4x4 block is at the start.
    _, centred, variance = _moments(x)
    return centred * torch.rsqrt(variance + eps)


@fused
def activated(x: Tensor, bias: Tensor) -> Tensor:
    """Bias [C] and leaky ReLU on [N, C, H, W]."""
    return leaky_relu(x + bias.view(1, -1, 1, 1))


@fused
def activated_styled(x: Tensor, bias: Tensor, style: Tensor) -> Tensor:
    """Bias, leaky ReLU, instance norm and the style [N, 2C] on [N, C, H, W]."""
    return modulate(instance_norm(leaky_relu(x + bias.view(1, -1, 1, 1))), style)


@fused
def noisy_styled(x: Tensor, bias: Tensor, noise: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """The same with noise [N, 1, H, W], weighted per channel [C], before the activation."""
    x = torch.addcmul(x + bias.view(1, -1, 1, 1), noise, weight.view(1, -1, 1, 1))
    return modulate(instance_norm(leaky_relu(x)), style)


@cache
def activated_statistics(deviation_eps: float, norm_eps: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A function of x [N, C, H, W] and a bias [C]: bias and leaky ReLU, then the style statistics [N, 2C] and the normed x."""

    @fused
    def statistics(x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        x = leaky_relu(x + bias.view(1, -1, 1, 1))
        style, normed = style_statistics(x, deviation_eps)
        return style, normed if norm_eps == deviation_eps else instance_norm(x, norm_eps)

    return statistics


def modulate(x: Tensor, style: Tensor) -> Tensor:
    """x [N, C, H, W] * (s0 + 1) + s1, with the style [N, 2C] = [s0, s1]."""
    scale, shift = style[:, :, None, None].chunk(2, 1)
    return torch.addcmul(shift, x, scale + 1.0)


def style_statistics(x: Tensor, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Per-channel mean and standard deviation [N, 2C], and the normalised x (ALAE, section 4.1).

    `eps` stands under the root: without it a constant channel has an infinite gradient.
    """
    mean, centred, variance = _moments(x)
    deviation = torch.sqrt(variance + eps)
    style = torch.cat([mean, deviation], 1).flatten(1)
    return style, centred * deviation.reciprocal()


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, x less its mean, and biased variance over H, W. Two passes: on CPUs 8 times as fast as torch.var_mean."""
    mean = x.mean((2, 3), keepdim=True)
    centred = x - mean
    return mean, centred, centred.square().mean((2, 3), keepdim=True)


def upsample(x: Tensor) -> Tensor:
    """Nearest-neighbour, twice the size."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def downsample(x: Tensor) -> Tensor:
    """Mean of 2x2 blocks, half the size."""
    return F.avg_pool2d(x, 2)


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """x [N, C, H, W] and one more channel: how much the images of each group differ (ProGAN, section 3).

    A group is `group` images in a row, so that splitting a batch between groups changes nothing; StyleGAN's code takes
    every N/group-th image. Raises ValueError where N is not a multiple of `group`.
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
