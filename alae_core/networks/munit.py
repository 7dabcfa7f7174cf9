"""MUNIT's content and style encoders, generator and discriminators (Huang et al., ECCV 2018, section B.2).

The layers are those of the official code. It fails for images below 64 px, for which the style encoder and the discriminators
have fewer layers here. A style is a vector [N, D], and the layer that makes it is dense, which is the same linear map.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from alae_core.layers import LEAK, at_least_float32

EPS = 1e-5
"""Epsilon of all norms."""
STYLE_HALVINGS = 4
"""Strided convolutions of the style encoder; the first two double the width."""
CRITIC_HALVINGS = 4
"""Strided convolutions of the discriminator of each scale; all but the first double the width."""


def halvings_of(side: int) -> int:
    """Number of strided convolutions that reduce an image of `side` pixels to one pixel."""
    return side.bit_length() - 1


class ContentEncoder(nn.Module):
    """Content encoder E_c: image [N, C, H, W] -> content [N, B 2^d, H / 2^d, W / 2^d], d downsamplings, B base channels.

    H and W are multiples of 2^d, and at least twice that. Instance norm without parameters removes the style.
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
    """Style encoder E_s: image [N, C, H, W] -> style [N, D]. It has no norms, which would remove the style.

    It is built for images of `resolution` and takes all images of at least 2^halvings pixels a side.
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
    """Generator G: content and style [N, D] -> image [N, C, H, W] in (-1, 1).

    An MLP turns the style into the AdaIN parameters of the residual blocks; other layers do not depend on it.
    """

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
    """Discriminator D: image [N, C, H, W] -> a logit map [N, 1, h, w] for each scale, each half as large as the one before.

    With four halvings each logit rates a patch of 46 x 46 px of its scale. It is built for images of `resolution` and takes
    larger ones too.
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
    """Side in pixels of the image at each scale: halved from scale to scale and rounded up."""
    return [-(-resolution // 2**number) for number in range(scales)]


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions with instance norm, or AdaIN if styles are given; the sum is not activated."""

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
    """Nearest-neighbour upsampling and a 5x5 convolution with reflected borders: [N, C, h, w] -> [N, D, 2h, 2w].

    A 3x3 convolution of the features before upsampling computes all four pixels of each, with 2.8 times fewer operations. It
    repeats the border instead of reflecting it, so the outermost pixels are corrected afterwards. h and w are at least 2.
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
        # Adds reflected minus repeated borders, for the first and last row, then for the first and last column.
        rows = _ends(x, 2).repeat_interleave(2, 3)
        result[:, :, :: height - 1] += _by_ends(F.pad(rows, (2, 2, 0, 0), mode="reflect"), weight, 2)
        columns = _ends(x, 3).repeat_interleave(2, 2)
        result[:, :, :, :: width - 1] += _by_ends(F.pad(columns, (0, 0, 2, 2), mode="replicate"), weight, 3)
        return result

    def _kernel(self) -> Tensor:
        """Kernel [4 D, C, 3, 3], channels last in memory, whose taps are sums of the 5x5 taps that read the same pixel."""
        taps = self.weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
        summed = (self.sums @ taps).view(2, 2, 3, 3, self.out_channels, self.in_channels)
        return summed.permute(4, 0, 1, 2, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)


def _sums_of_taps() -> Tensor:
    """Matrix [36, 25] that sums the taps of a 5x5 kernel into four 3x3 kernels, one for each output pixel of an input."""
    even = ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1))
    odd = ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1))
    line = torch.tensor((even, odd), dtype=torch.get_default_dtype())
    return torch.einsum("pac,qbd->pqabcd", line, line).reshape(36, 25)


def _ends(x: Tensor, side: int) -> Tensor:
    """Second line minus first, and last but one minus last, along dimension `side`: [N, 2 C, 1, w] or [N, 2 C, h, 1]."""
    last = x.shape[side] - 1
    return torch.cat(
        [x.narrow(side, 1, 1) - x.narrow(side, 0, 1), x.narrow(side, last - 1, 1) - x.narrow(side, last, 1)], 1
    )


def _by_ends(x: Tensor, weight: Tensor, side: int) -> Tensor:
    """Convolve the two halves of the channels with the kernel's first and last line: [N, D, 2, W] or [N, D, H, 2]."""
    lines = torch.cat([weight.narrow(side, 0, 1), weight.narrow(side, 4, 1)])
    return torch.cat(F.conv2d(x, lines, groups=2).chunk(2, 1), side)


class LayerNorm(nn.Module):
    """Layer norm of each image over C, H and W: (x - mean) / (deviation + EPS), then a scale and shift of each channel.

    Unlike torch's layer norm it uses the unbiased deviation, adds EPS to it, and draws its initial scales uniformly in
    [0, 1). Unlike instance norm it keeps the ratios between channels, which carry the style.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        full = at_least_float32(x)
        centred = full - full.mean((1, 2, 3), keepdim=True)
        # torch defines the gradient of this norm at 0, but not that of a square root.
        length = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True)
        deviation = length / max(centred[0].numel() - 1, 1) ** 0.5
        scaled = centred / (deviation + EPS)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), scaled, self.weight.view(1, -1, 1, 1)).to(x.dtype)


def adaptive_instance_norm(x: Tensor, style: Tensor) -> Tensor:
    """Give each channel of x [N, C, H, W] the mean and deviation of the style [N, 2C] = [means, deviations]."""
    # AdaIN(x, s) = deviation IN(x) + mean
    mean, deviation = style[:, :, None, None].chunk(2, 1)
    return torch.addcmul(mean, instance_norm(x), deviation)


def instance_norm(x: Tensor) -> Tensor:
    """Instance norm of x [N, C, H, W] without parameters; a channel with a variance below EPS passes no gradient on.

    A constant channel multiplies the gradient by 1 / sqrt(EPS) = 316. In an image of one colour all channels are constant in
    all layers, so the gradient would overflow.
    """
    normed: Tensor = _InstanceNorm.apply(x)
    return normed


class _InstanceNorm(Function):
    """Instance norm with its gradient as one formula, which takes less than half of autograd's time on CPUs."""

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
    """Same-size convolution with reflected borders."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect")


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, padding_mode="reflect")


def _kaiming(network: nn.Module) -> None:
    """Initialise weights by He's normal distribution (fan-in) and biases by 0."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
            _no_bias(layer)


def _normal(network: nn.Module) -> None:
    """Initialise weights by N(0, 0.02^2) and biases by 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            _no_bias(layer)


def _no_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
