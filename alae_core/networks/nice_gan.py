"""NICE-GAN's networks (Chen et al., CVPR 2020): the first layers of a discriminator are the encoder of its domain.

Deviations from the official code: singular vectors are updated once per iteration instead of in every forward pass; equal
maxima of a feature map share the gradient. The attention's halves and the spectral norm are applied to smaller tensors, which
gives the same result.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.layers import LEAK, at_least_float32, leaky_relu

SCALE = 4
"""Downsampling factor from an image to its code."""
_FIRST_STEPS = 15
_INSTANCE_MOSTLY, _LAYER_MOSTLY = (3.2, 1.0), (1.0, 3.2)


class SpectralNorm(nn.Module):
    """Largest singular value of a weight as a matrix [outputs, rest], by power iteration (Miyato et al. 2018, algorithm 1).

    A forward pass only reads the singular vectors, so frozen networks do not change, and micro-batches and the number of
    passes do not matter. `follow` updates the vectors. It is called once per iteration after the steps and has the same
    result on all ranks.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("left", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("right", torch.zeros(columns))
        self.follow(weight, _FIRST_STEPS)

    def forward(self, weight: Tensor) -> Tensor:
        # Half precision would not be accurate enough for the norm.
        with torch.autocast(weight.device.type, enabled=False):
            matrix, right = self._by_memory(weight)
            value: Tensor = self.left @ (matrix @ right.flatten())
        return value

    @torch.no_grad()
    def follow(self, weight: Tensor, steps: int = 1) -> None:
        """Run steps of the power iteration, starting from the vectors of the last call."""
        matrix, right = self._by_memory(weight)
        for _ in range(steps):
            right.copy_(F.normalize(self.left @ matrix, dim=0).view_as(right))
            self.left.copy_(F.normalize(matrix @ right.flatten(), dim=0))

    def _by_memory(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the weight as a matrix and of `right` as a row, in the weight's memory order so that nothing is copied."""
        order = list(range(weight.dim()))
        if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            order = [0, 2, 3, 1]
        return weight.permute(order).flatten(1), self.right.view_as(weight[:1]).permute(order)


class SpectralConv(nn.Conv2d):
    """4x4 convolution with one reflected pixel of padding and its weight divided by its largest singular value."""

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 4, stride, bias=bias)
        self.norm = SpectralNorm(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm(self.weight)
        bias = None if self.bias is None else self.bias * norm
        # Dividing the result is the same map and saves a copy of a large weight in every pass.
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.weight, bias, self.stride) / norm

    def follow(self) -> None:
        """Update the singular vectors by one step."""
        self.norm.follow(self.weight)


def follow_spectral_norms(network: nn.Module) -> None:
    """Update the singular vectors of all spectral norms of a network by one step."""
    for layer in network.modules():
        if isinstance(layer, SpectralConv):
            layer.follow()


class SharedEncoder(nn.Module):
    """Encoder E with classifier C0: image [N, C, H, W] -> code [N, 2 base, H/4, W/4] and C0's logit [N, 1].

    C0 classifies the mean and the maximum of each feature map. Its weights also serve as attention: the weighted and mixed
    features, times the learned `gamma` (0 at first), are added to the features.
    """

    def __init__(self, channels: int, base_channels: int) -> None:
        super().__init__()
        width = 2 * base_channels
        self.conv1 = SpectralConv(channels, base_channels, 2)
        self.conv2 = SpectralConv(base_channels, width, 2)
        self.judge = nn.Linear(2 * width, 1, bias=False)
        self.mix = nn.Conv2d(2 * width, width, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = leaky_relu(self.conv2(leaky_relu(self.conv1(images))))
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        # The largest singular value of a single row is its length.
        logit = F.linear(pooled, F.normalize(self.judge.weight, dim=1))
        code = leaky_relu(features + self.gamma * self._attended(features))
        return code, logit

    def _attended(self, features: Tensor) -> Tensor:
        """Mix two copies of the features weighted by C0's weights; both read the same features, so one kernel suffices."""
        mean, peak = (self.mix.weight * self.judge.weight[:, :, None, None]).chunk(2, 1)
        return F.conv2d(features, mean + peak, self.mix.bias)


class Classifiers(nn.Module):
    """Classifiers C1 and C2: code -> logit maps [N, 1, h, w] of local patches (70 px) and of global patches (286 px).

    These are the patches of the official 7 layers. With 6 layers, for images from 48 px on, they have 34 and 142 px.
    """

    def __init__(self, base_channels: int, layers: int = 7) -> None:
        super().__init__()
        width = 2 * base_channels
        halvings = layers - 6
        self.trunk = nn.Sequential(*_doubling(width, [2] * halvings))
        width *= 2**halvings
        self.near = _patches(width, [1])
        self.far = _patches(width, [2, 2, 1])

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(code)
        return self.near(features), self.far(features)


def smallest_resolution(layers: int) -> int:
    """Smallest side of images for the classifiers, which leaves three pixels after the last halving."""
    return 3 * 2 ** (layers - 2)


def _doubling(width: int, strides: list[int]) -> list[nn.Module]:
    """Convolutions with these strides, each of which doubles the width."""
    pairs = ((SpectralConv(width * 2**i, width * 2 ** (i + 1), s), nn.LeakyReLU(LEAK)) for i, s in enumerate(strides))
    return [layer for pair in pairs for layer in pair]


def _patches(width: int, strides: list[int]) -> nn.Sequential:
    return nn.Sequential(*_doubling(width, strides), SpectralConv(width * 2 ** len(strides), 1, 1, bias=False))


def blended_norm(x: Tensor, logits: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Blend instance and layer norm of x [N, C, H, W] by the softmax of logits [C, 2], then scale and shift by [N, C].

    AdaLIN (Kim et al., ICLR 2020) with a softmax instead of a clipped rho, unbiased variances, and epsilon 1e-5.
    """
    # scale (rho_0 IN(x) + rho_1 LN(x)) + shift, (rho_0, rho_1) = softmax(logits)
    dtype, count, pixels = x.dtype, x[0].numel(), x[0, 0].numel()
    x = at_least_float32(x)
    scale, shift = scale[:, :, None, None], shift[:, :, None, None]
    instance, layer = logits.softmax(1)[None, :, :, None, None].unbind(2)
    mean = x.mean((2, 3), keepdim=True)
    centred = x - mean
    variance = centred.square().mean((2, 3), keepdim=True)
    # Layer statistics follow from the channels' means and variances, so the features are read once for both norms.
    offset = mean - mean.mean(1, keepdim=True)
    layer_variance = (variance + offset.square()).mean(1, keepdim=True) * (count / (count - 1))
    instance = instance * torch.rsqrt(variance * (pixels / (pixels - 1)) + 1e-5)
    layer = layer * torch.rsqrt(layer_variance + 1e-5)
    return torch.addcmul(shift + scale * layer * offset, centred, scale * (instance + layer)).to(dtype)


class BlendedNorm(nn.Module):
    """`blended_norm` that starts mostly as layer norm, with a learned scale and shift of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = _logits(channels, _LAYER_MOSTLY)
        self.weight = nn.Parameter(torch.ones(1, channels))
        self.bias = nn.Parameter(torch.zeros(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        return blended_norm(x, self.rho, self.weight, self.bias)


class AdaptiveResidual(nn.Module):
    """Residual block of two 3x3 convolutions with `blended_norm`, mostly instance norm at first, and a given scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (_conv(width, width, 3) for _ in range(2))
        self.rho1, self.rho2 = (_logits(width, _INSTANCE_MOSTLY) for _ in range(2))

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        features = torch.relu(blended_norm(self.conv1(x), self.rho1, scale, shift))
        return x + blended_norm(self.conv2(features), self.rho2, scale, shift)


class Generator(nn.Module):
    """Generator G: code [N, 2 base, h, w] of either domain -> image [N, C, 4h, 4w] in (-1, 1).

    An MLP computes one scale and shift for all residual blocks, from the means of the first features ("light") or from all of
    them ("full"), which ties the network to images of `resolution`.
    """

    def __init__(
        self,
        channels: int,
        base_channels: int,
        blocks: int = 6,
        form: Literal["light", "full"] = "light",
        resolution: int = 256,
    ) -> None:
        super().__init__()
        width = 4 * base_channels
        self.form = form
        inputs = width * (resolution // SCALE) ** 2 if form == "full" else width
        self.first = nn.Sequential(_conv(2 * base_channels, width, 3, bias=True), BlendedNorm(width), nn.ReLU())
        self.hidden = nn.Sequential(*_dense(inputs, width), *_dense(width, width))
        self.scale, self.shift = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.blocks = nn.ModuleList(AdaptiveResidual(width) for _ in range(blocks))
        self.up = nn.Sequential(*_up(width), *_up(width // 2))
        self.image = _conv(base_channels, channels, 7)

    def forward(self, code: Tensor) -> Tensor:
        x = self.first(code)
        hidden = self.hidden(x.flatten(1) if self.form == "full" else x.mean((2, 3)))
        scale, shift = self.scale(hidden), self.shift(hidden)
        for block in self.blocks:
            x = block(x, scale, shift)
        return torch.tanh(self.image(self.up(x)))


def _logits(channels: int, blend: tuple[float, float]) -> nn.Parameter:
    return nn.Parameter(torch.tensor(blend).repeat(channels, 1))


def _conv(inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, padding_mode="reflect", bias=bias)


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(inputs, outputs, bias=False), nn.ReLU()


def _up(width: int) -> tuple[nn.Module, ...]:
    """Layers that double the size and halve the channels, by pixel shuffle."""
    half = width // 2
    convolved = (_conv(width, half, 3), BlendedNorm(half), nn.ReLU())
    return *convolved, nn.Conv2d(half, 4 * half, 1), nn.PixelShuffle(2), BlendedNorm(half), nn.ReLU()
