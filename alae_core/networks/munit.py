"""MUNIT's content and style encoders, generator and discriminators (Huang et al., ECCV 2018, section B.2).

As the official code's, layer by layer. Where it would fail, for images below 64 px, style encoder and discriminators have
fewer layers. A style is a vector [N, D] here, and its last layer a dense one, which is the same map.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from alae_core.layers import LEAK, at_least_float32

EPS = 1e-5
"""Of all norms."""
STYLE_HALVINGS = 4
"""Of the style encoder; the width doubles at the first two."""
CRITIC_HALVINGS = 4
"""Of each scale's discriminator; the width doubles after the first."""


def halvings_of(side: int) -> int:
    """How often an image of `side` pixels can be halved by a strided convolution before one pixel is left."""
    return side.bit_length() - 1


class ContentEncoder(nn.Module):
    """E_c: image [N, C, H, W] -> content [N, B 2^d, H / 2^d, W / 2^d] with d halvings and base channels B.

    H and W are multiples of 2^d, and at least twice that. Instance norm without parameters takes the style out.
    """

    def __init__(self, channels: int, base_channels: int, downsamplings: int, residual_blocks: int) -> None:
        super().__init__()
        self.first = _conv(channels, base_channels, 7)
        widths = [base_channels * 2**step for step in range(downsamplings + 1)]
        self.down = nn.ModuleList(_down(a, b) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(Residual(widths[-1]) for _ in range(residual_blocks))
        _kaiming(self)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(_normed(self.first(images)))
        for layer in self.down:
            x = torch.relu(_normed(layer(x)))
        for block in self.blocks:
            x = block(x)
        return x


class StyleEncoder(nn.Module):
    """E_s: image [N, C, H, W] -> style [N, D]. It has no norm, which would take away what it looks for.

    It is built for images of `resolution` and takes any that are no smaller than 2^halvings.
    """

    def __init__(self, resolution: int, channels: int, latent: int, base_channels: int) -> None:
        super().__init__()
        self.halvings = min(STYLE_HALVINGS, halvings_of(resolution))
        self.first = _conv(channels, base_channels, 7)
        widths = [base_channels * 2 ** min(step, 2) for step in range(self.halvings + 1)]
        self.down = nn.ModuleList(_down(a, b) for a, b in pairwise(widths))
        self.style = nn.Linear(widths[-1], latent)
        _kaiming(self)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.first(images))
        for layer in self.down:
            x = torch.relu(layer(x))
        style: Tensor = self.style(x.mean((2, 3)))
        return style


class Generator(nn.Module):
    """G: content and style [N, D] -> image [N, C, H, W] in (-1, 1). The style sets the AdaIN of the residual blocks alone."""

    def __init__(
        self, channels: int, latent: int, base_channels: int, hidden: int, downsamplings: int, residual_blocks: int
    ) -> None:
        super().__init__()
        widths = [base_channels * 2**step for step in reversed(range(downsamplings + 1))]
        self.norms = 2 * residual_blocks
        self.mapping = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, self.norms * 2 * widths[0]),
        )
        self.blocks = nn.ModuleList(Residual(widths[0]) for _ in range(residual_blocks))
        self.up = nn.ModuleList(Up(a, b) for a, b in pairwise(widths))
        self.image = _conv(widths[-1], channels, 7)
        _kaiming(self)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        norms = self.mapping(style).chunk(self.norms, 1)
        x = content
        for number, block in enumerate(self.blocks):
            x = block(x, norms[2 * number], norms[2 * number + 1])
        for layer in self.up:
            x = layer(x)
        return torch.tanh(self.image(x))


class MultiScaleDiscriminator(nn.Module):
    """D: image [N, C, H, W] -> a map [N, 1, h, w] of each scale, the finest first; each scale has half the pixels a side.

    A map's values rate overlapping patches of 46 px of its scale, where there are four halvings. It is built for images of
    `resolution` and takes larger ones too.
    """

    def __init__(self, resolution: int, channels: int, base_channels: int, scales: int) -> None:
        super().__init__()
        sides = scale_sides(resolution, scales)
        self.scales = nn.ModuleList(_patch_critic(channels, base_channels, halvings_of(side)) for side in sides)
        _normal(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for number, critic in enumerate(self.scales):
            if number:
                images = F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
            maps.append(critic(images))
        return maps


def scale_sides(resolution: int, scales: int) -> list[int]:
    """The side of the image that each scale's discriminator sees, in pixels: halved, and rounded up."""
    return [-(-resolution // 2**number) for number in range(scales)]


class Residual(nn.Module):
    """Two 3x3 convolutions with norms beside the identity; the norms' own moments are those of the styles, if given.

    No activation follows the sum.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width, 3)
        self.conv2 = _conv(width, width, 3)

    def forward(self, x: Tensor, first: Tensor | None = None, second: Tensor | None = None) -> Tensor:
        features = torch.relu(_normed(self.conv1(x), first))
        return x + _normed(self.conv2(features), second)


class Up(nn.Module):
    """Nearest-neighbour upsampling, a 5x5 convolution, layer norm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = UpConv(inputs, outputs)
        self.norm = LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class UpConv(nn.Conv2d):
    """Nearest-neighbour upsampling and a 5x5 convolution, its border filled by reflection: [N, C, h, w] -> [N, D, 2h, 2w].

    One 3x3 convolution of the features before they are upsampled makes all four pixels of each: 2.8 times fewer operations.
    It sees the border repeated and not reflected, which the outermost pixels are corrected for. h and w are at least 2.
    """

    sums: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 5)
        self.register_buffer("sums", _sums_of_taps(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        result = F.pixel_shuffle(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self._kernel(), bias), 2)
        height, width = result.shape[2:]
        weight = self.weight
        # Reflected less repeated, the first and last row, then the first and last column.
        rows = _ends(x, 2).repeat_interleave(2, 3)
        result[:, :, :: height - 1] += _by_ends(F.pad(rows, (2, 2, 0, 0), mode="reflect"), weight, 2)
        columns = _ends(x, 3).repeat_interleave(2, 2)
        result[:, :, :, :: width - 1] += _by_ends(F.pad(columns, (0, 0, 2, 2), mode="replicate"), weight, 3)
        return result

    def _kernel(self) -> Tensor:
        """[4 D, C, 3, 3], channels last in memory: each tap the sum of those that fall on one pixel."""
        taps = self.weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
        summed = (self.sums @ taps).view(2, 2, 3, 3, self.out_channels, self.in_channels)
        return summed.permute(4, 0, 1, 2, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)


def _sums_of_taps() -> Tensor:
    """[36, 25]: which taps of a 5x5 kernel each tap of four 3x3 kernels is the sum of, for the four pixels of one."""
    even = ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1))
    odd = ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1))
    line = torch.tensor((even, odd), dtype=torch.get_default_dtype())
    return torch.einsum("pac,qbd->pqabcd", line, line).reshape(36, 25)


def _ends(x: Tensor, side: int) -> Tensor:
    """Along a side, the second less the first and the last but one less the last: [N, 2 C, 1, w] or [N, 2 C, h, 1]."""
    last = x.shape[side] - 1
    return torch.cat(
        [x.narrow(side, 1, 1) - x.narrow(side, 0, 1), x.narrow(side, last - 1, 1) - x.narrow(side, last, 1)], 1
    )


def _by_ends(x: Tensor, weight: Tensor, side: int) -> Tensor:
    """Both halves of the channels by the kernel's first and last line along a side: [N, D, 2, W] or [N, D, H, 2]."""
    lines = torch.cat([weight.narrow(side, 0, 1), weight.narrow(side, 4, 1)])
    return torch.cat(F.conv2d(x, lines, groups=2).chunk(2, 1), side)


class LayerNorm(nn.Module):
    """(x - mean) / (deviation + EPS) over C, H, W of each image, then a scale and shift of each channel.

    Unlike torch's: the deviation is the unbiased one, EPS is added to it, and the scales start uniform in [0, 1). Unlike
    instance norm it keeps the proportions between channels, where the style is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        full = at_least_float32(x)
        centred = full - full.mean((1, 2, 3), keepdim=True)
        # Of this norm torch knows a gradient at 0, of a square root none.
        length = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True)
        deviation = length / max(centred[0].numel() - 1, 1) ** 0.5
        scaled = centred / (deviation + EPS)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), scaled, self.weight.view(1, -1, 1, 1)).to(x.dtype)


def adaptive_instance_norm(x: Tensor, style: Tensor) -> Tensor:
    """Each channel of [N, C, H, W] with the mean and deviation that the style [N, 2C] = [means, deviations] gives."""
    mean, deviation = style[:, :, None, None].chunk(2, 1)
    return torch.addcmul(mean, instance_norm(x), deviation)


def instance_norm(x: Tensor) -> Tensor:
    """Each channel of each image over H, W, without parameters; a channel of a variance below EPS hands no gradient on.

    A constant channel makes a gradient 1 / sqrt(EPS) = 316 times as large. In an image of one colour all channels are
    constant, layer after layer, and the gradient would overflow.
    """
    normed: Tensor = _InstanceNorm.apply(x)
    return normed


class _InstanceNorm(Function):
    """With its gradient in one formula: on CPUs in less than half the time that torch takes through the steps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        variance = centred.square().mean((2, 3), keepdim=True)
        scale = torch.rsqrt(variance + EPS)
        normed = centred * scale
        ctx.save_for_backward(normed, scale * (variance > EPS))
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        normed, scale = ctx.saved_tensors
        mean = gradient.mean((2, 3), keepdim=True)
        along = (gradient * normed).mean((2, 3), keepdim=True)
        found: Tensor = (gradient - mean - normed * along) * scale
        return found


def _normed(x: Tensor, style: Tensor | None = None) -> Tensor:
    return instance_norm(x) if style is None else adaptive_instance_norm(x, style)


def _patch_critic(channels: int, base_channels: int, most_halvings: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = channels
    for step in range(min(CRITIC_HALVINGS, most_halvings)):
        layers += [_down(width, base_channels * 2**step), nn.LeakyReLU(LEAK)]
        width = base_channels * 2**step
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 1))


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """Of the same size; the border is filled by reflection."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, padding_mode="reflect")


def _kaiming(network: nn.Module) -> None:
    """He's normal weights by the inputs of a unit, and no biases."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
            _no_bias(layer)


def _normal(network: nn.Module) -> None:
    """Normal weights of deviation 0.02, and no biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            _no_bias(layer)


def _no_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
