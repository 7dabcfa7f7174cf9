"""Plain form of StyleALAE's networks, for comparisons of speed: the official code of ALAE (CVPR 2020).

Weights have their He scale and a factor of the learning rate (implicit equalisation); tensors are contiguous NCHW; each step of
the formula is one operation; upsampling and pooling are separate from convolutions below 128 px. Deviations from the official
code are those of our networks, so that both compute the same: the constant is expanded to the batch, fromRGB is activated once,
deviations have an epsilon, and the discriminator has one output.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FUSED_FROM_PX = 128
EPS = 1e-8

Noise = Callable[..., Tensor]
"""Function noise(name, *shape) that returns standard normal noise [N, *shape]."""


class _Equalised(nn.Module):
    """A weight [outputs, inputs, ...] at its He scale, an optional bias, and the factors of their learning rates."""

    def __init__(self, shape: tuple[int, ...], fan_in: int, gain: float, lr_multiplier: float, biases: int) -> None:
        super().__init__()
        scale = gain / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.randn(shape) * scale)
        self.bias = nn.Parameter(torch.zeros(biases)) if biases else None
        self.rates = {"weight": scale * lr_multiplier, "bias": lr_multiplier}


def learning_rates(network: nn.Module) -> Iterator[tuple[nn.Parameter, float]]:
    """All parameters, each with the factor of its learning rate."""
    for module in network.modules():
        rates = module.rates if isinstance(module, _Equalised) else {}
        for name, parameter in module.named_parameters(recurse=False):
            yield parameter, rates.get(name, 1.0)


class Linear(_Equalised):
    """A linear layer."""

    def __init__(self, inputs: int, outputs: int, gain: float = math.sqrt(2.0), lr_multiplier: float = 1.0) -> None:
        super().__init__((outputs, inputs), inputs, gain, lr_multiplier, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Conv(_Equalised):
    """A convolution that keeps the size."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, gain: float = math.sqrt(2.0), bias: bool = False
    ) -> None:
        fan_in = inputs * kernel * kernel
        super().__init__((outputs, inputs, kernel, kernel), fan_in, gain, 1.0, outputs if bias else 0)
        self.padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


class UpConv(_Equalised):
    """Upsampling and convolution to twice the size; if `fused`, one transposed convolution of [inputs, outputs, 3, 3]."""

    def __init__(self, inputs: int, outputs: int, fused: bool) -> None:
        shape = (inputs, outputs, 3, 3) if fused else (outputs, inputs, 3, 3)
        super().__init__(shape, inputs * 9, math.sqrt(2.0), 1.0, 0)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return F.conv_transpose2d(x, _sum_of_shifts(self.weight), stride=2, padding=1)
        return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), self.weight, padding=1)


class DownConv(_Equalised):
    """Convolution and pooling to half the size; if `fused`, one strided convolution."""

    def __init__(self, inputs: int, outputs: int, fused: bool) -> None:
        super().__init__((outputs, inputs, 3, 3), inputs * 9, math.sqrt(2.0), 1.0, 0)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            return F.conv2d(x, _sum_of_shifts(self.weight) * 0.25, stride=2, padding=1)
        return F.avg_pool2d(F.conv2d(x, self.weight, padding=1), 2)


def _sum_of_shifts(weight: Tensor) -> Tensor:
    """Sum of the four shifts of a kernel: [a, b, 3, 3] -> [a, b, 4, 4]."""
    wide = F.pad(weight, (1, 1, 1, 1))
    return wide[:, :, 1:, 1:] + wide[:, :, :-1, 1:] + wide[:, :, 1:, :-1] + wide[:, :, :-1, :-1]


class Blur(nn.Module):
    """Depthwise [1, 2, 1] x [1, 2, 1] / 16."""

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("weight", (torch.outer(line, line) / 16.0).repeat(channels, 1, 1, 1))
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1, groups=self.channels)


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm, style: one operation each."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.style = Linear(latent, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        x = torch.addcmul(x, self.noise_weight, noise)
        x = x + self.bias
        x = F.leaky_relu(x, 0.2)
        x = F.instance_norm(x, eps=EPS)
        style = self.style(w).view(x.shape[0], 2, x.shape[1], 1, 1)
        return x * (style[:, 0] + 1.0) + style[:, 1]


class GeneratorBlock(nn.Module):
    """Two epilogues and the convolutions before them; the first block starts from the learned constant."""

    def __init__(self, latent: int, inputs: int | None, channels: int, fused: bool) -> None:
        super().__init__()
        self.up_conv = UpConv(inputs, channels, fused) if inputs is not None else None
        self.blur = Blur(channels)
        self.first = Epilogue(latent, channels)
        self.conv = Conv(channels, channels, 3)
        self.second = Epilogue(latent, channels)

    def forward(self, x: Tensor, first: Tensor, second: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
        if self.up_conv is not None:
            x = self.blur(self.up_conv(x))
        x = self.first(x, first, noise[0])
        return self.second(self.conv(x), second, noise[1])


class Generator(nn.Module):
    """G: styles [N, layers, D] and noise -> image [N, C, R, R]. `widths` are the channels from 4x4 up."""

    def __init__(self, widths: tuple[int, ...], channels: int, latent: int, rgb_gain: float) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.ones(1, widths[0], 4, 4))
        self.blocks = nn.ModuleList([GeneratorBlock(latent, None, widths[0], fused=False)])
        for index, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            self.blocks.append(GeneratorBlock(latent, inputs, outputs, fused=4 * 2**index >= FUSED_FROM_PX))
        self.to_rgb = nn.ModuleList(Conv(width, channels, 1, rgb_gain, bias=True) for width in widths)

    def forward(self, styles: Tensor, noise: Noise, level: int, blend: float) -> Tensor:
        x = previous = self.constant.expand(styles.shape[0], -1, -1, -1)
        for index in range(level + 1):
            size = 4 * 2**index
            maps = (noise(f"layer{2 * index}", 1, size, size), noise(f"layer{2 * index + 1}", 1, size, size))
            previous = x
            x = self.blocks[index](x, styles[:, 2 * index], styles[:, 2 * index + 1], maps)
        image = self.to_rgb[level](x)
        if blend < 1.0:
            coarser = F.interpolate(self.to_rgb[level - 1](previous), scale_factor=2.0, mode="nearest")
            image = torch.lerp(coarser, image, blend)
        return image


class EncoderBlock(nn.Module):
    """Block to half the size; returns the features and a summand of w from the statistics of both layers."""

    def __init__(self, inputs: int, outputs: int, latent: int, fused: bool) -> None:
        super().__init__()
        self.conv = Conv(inputs, inputs, 3)
        self.bias1 = nn.Parameter(torch.zeros(1, inputs, 1, 1))
        self.style1 = Linear(2 * inputs, latent)
        self.blur = Blur(inputs)
        self.down_conv = DownConv(inputs, outputs, fused)
        self.bias2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.style2 = Linear(2 * outputs, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.leaky_relu(self.conv(x) + self.bias1, 0.2)
        first = self.style1(_statistics(x))
        x = F.instance_norm(x, eps=EPS)
        x = self.down_conv(self.blur(x)) + self.bias2
        x = F.leaky_relu(x, 0.2)
        second = self.style2(_statistics(x))
        return F.instance_norm(x, eps=EPS), first, second


def _statistics(x: Tensor) -> Tensor:
    """Mean and deviation over H and W, [N, 2C]."""
    mean = torch.mean(x, dim=(2, 3), keepdim=True)
    deviation = torch.sqrt(torch.mean((x - mean) ** 2, dim=(2, 3), keepdim=True) + EPS)
    return torch.cat((mean, deviation), dim=1).flatten(1)


class Encoder(nn.Module):
    """E: image [N, C, R, R] -> w [N, D]."""

    def __init__(self, widths: tuple[int, ...], coarsest: int, channels: int, latent: int) -> None:
        super().__init__()
        outputs = (coarsest, *widths[:-1])
        self.blocks = nn.ModuleList(
            EncoderBlock(a, b, latent, fused=4 * 2**index >= FUSED_FROM_PX)
            for index, (a, b) in enumerate(zip(widths, outputs, strict=True))
        )
        self.from_rgb = nn.ModuleList(Conv(channels, width, 1, bias=True) for width in widths)

    def forward(self, images: Tensor, level: int, blend: float) -> Tensor:
        x = F.leaky_relu(self.from_rgb[level](images), 0.2)
        x, first, second = self.blocks[level](x)
        if blend < 1.0:
            coarser = F.leaky_relu(self.from_rgb[level - 1](F.avg_pool2d(images, 2)), 0.2)
            x, first, second = torch.lerp(coarser, x, blend), first * blend, second * blend
        w = first + second
        for index in range(level - 1, -1, -1):
            x, first, second = self.blocks[index](x)
            w = w + first + second
        return w


class Mapping(nn.Module):
    """F: pixel-normalised z [N, D] -> w [N, D]."""

    def __init__(self, latent: int, layers: int, lr_multiplier: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(latent, latent, lr_multiplier=lr_multiplier) for _ in range(layers))

    def forward(self, z: Tensor) -> Tensor:
        w = z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + EPS)
        for layer in self.layers:
            w = F.leaky_relu(layer(w), 0.2)
        return w


class Discriminator(nn.Module):
    """D: w [N, D] -> logits [N] by three linear maps."""

    def __init__(self, latent: int, lr_multiplier: float) -> None:
        super().__init__()
        sizes = (latent, latent, latent, 1)
        self.layers = nn.ModuleList(Linear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(sizes))

    def forward(self, w: Tensor) -> Tensor:
        for layer in self.layers:
            w = layer(w)
        return w[:, 0]
