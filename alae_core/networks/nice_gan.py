"""NICE-GAN's networks (Chen et al., CVPR 2020): the first layers of a discriminator are the encoder of its domain.

Deviations from the code: singular vectors are followed once per iteration, not in every forward pass; the largest feature
of a map shares its gradient with equal ones. The attention's two halves, and a spectral norm, are applied to smaller tensors.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.layers import LEAK, at_least_float32, leaky_relu

SCALE = 4
"""Pixels of an image to one of its code, each way."""
_FIRST_STEPS = 15
_INSTANCE_MOSTLY, _LAYER_MOSTLY = (3.2, 1.0), (1.0, 3.2)


class SpectralNorm(nn.Module):
    """The largest singular value of a weight, seen as a matrix of its first dimension (Miyato et al. 2018, algorithm 1).

    A forward pass reads the singular vectors and changes nothing: frozen networks stay as they are to the bit, and neither
    micro-batches nor the number of passes matter. `follow` moves the vectors; called once per iteration, after the steps,
    it does the same on every rank.
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
        # In half precision it would be off by as much as it is to keep in check.
        with torch.autocast(weight.device.type, enabled=False):
            matrix, right = self._by_memory(weight)
            value: Tensor = self.left @ (matrix @ right.flatten())
        return value

    @torch.no_grad()
    def follow(self, weight: Tensor, steps: int = 1) -> None:
        """Steps of the power method, from the vectors of the last call."""
        matrix, right = self._by_memory(weight)
        for _ in range(steps):
            right.copy_(F.normalize(self.left @ matrix, dim=0).view_as(right))
            self.left.copy_(F.normalize(matrix @ right.flatten(), dim=0))

    def _by_memory(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix, and `right` in the shape of a row, as views in the order of the weight's memory: nothing is copied."""
        order = list(range(weight.dim()))
        if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
            order = [0, 2, 3, 1]
        return weight.permute(order).flatten(1), self.right.view_as(weight[:1]).permute(order)


class SpectralConv(nn.Conv2d):
    """A 4x4 convolution, padded by one reflected pixel, with its weight divided by its largest singular value."""

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 4, stride, bias=bias)
        self.norm = SpectralNorm(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm(self.weight)
        bias = None if self.bias is None else self.bias * norm
        # Divided is the result: the same map, without a second copy of a weight of millions in every pass.
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.weight, bias, self.stride) / norm

    def follow(self) -> None:
        """Let the norm follow the weight."""
        self.norm.follow(self.weight)


def follow_spectral_norms(network: nn.Module) -> None:
    """Let every spectral norm of a network follow its weight by one step."""
    for layer in network.modules():
        if isinstance(layer, SpectralConv):
            layer.follow()


class SharedEncoder(nn.Module):
    """E, with C0: image [N, C, H, W] -> code [N, 2 base, H/4, W/4] and C0's logit [N, 1].

    C0 judges the mean and the maximum of each feature, and its weights are also the attention: the features, weighted and
    mixed, are added to themselves `gamma` times, from 0 on.
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
        # Of a single row the largest singular value is the length.
        logit = F.linear(pooled, F.normalize(self.judge.weight, dim=1))
        code = leaky_relu(features + self.gamma * self._attended(features))
        return code, logit

    def _attended(self, features: Tensor) -> Tensor:
        """The features twice, times C0's weights, mixed: both halves see the same features, so that one kernel does."""
        mean, peak = (self.mix.weight * self.judge.weight[:, :, None, None]).chunk(2, 1)
        return F.conv2d(features, mean + peak, self.mix.bias)


class Classifiers(nn.Module):
    """C1 and C2: code -> local logits [N, 1, h, w] of patches of 70 pixels, and global ones of 286, by the official 7 layers.

    With 6 layers, from 48 pixels up, the patches are of 34 and 142.
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
    """Of images that the classifiers can judge: three pixels are left where their halvings end."""
    return 3 * 2 ** (layers - 2)


def _doubling(width: int, strides: list[int]) -> list[nn.Module]:
    """Convolutions of these strides, each twice as wide as the one before."""
    pairs = ((SpectralConv(width * 2**i, width * 2 ** (i + 1), s), nn.LeakyReLU(LEAK)) for i, s in enumerate(strides))
    return [layer for pair in pairs for layer in pair]


def _patches(width: int, strides: list[int]) -> nn.Sequential:
    return nn.Sequential(*_doubling(width, strides), SpectralConv(width * 2 ** len(strides), 1, 1, bias=False))


def blended_norm(x: Tensor, logits: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Instance and layer norm of x [N, C, H, W], blended by the softmax of logits [C, 2], then scaled and shifted ([N, C]).

    AdaLIN (Kim et al., ICLR 2020, eq. 1) with a softmax for its clipped share; variances unbiased, epsilon 1e-5.
    """
    dtype, count, pixels = x.dtype, x[0].numel(), x[0, 0].numel()
    x = at_least_float32(x)
    scale, shift = scale[:, :, None, None], shift[:, :, None, None]
    instance, layer = logits.softmax(1)[None, :, :, None, None].unbind(2)
    mean = x.mean((2, 3), keepdim=True)
    centred = x - mean
    variance = centred.square().mean((2, 3), keepdim=True)
    # The layer's statistics are those of its channels' means and variances: the features are read once for both norms.
    offset = mean - mean.mean(1, keepdim=True)
    layer_variance = (variance + offset.square()).mean(1, keepdim=True) * (count / (count - 1))
    instance = instance * torch.rsqrt(variance * (pixels / (pixels - 1)) + 1e-5)
    layer = layer * torch.rsqrt(layer_variance + 1e-5)
    return torch.addcmul(shift + scale * layer * offset, centred, scale * (instance + layer)).to(dtype)


class BlendedNorm(nn.Module):
    """`blended_norm`, at first mostly the layer's, with a learned scale and shift of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = _logits(channels, _LAYER_MOSTLY)
        self.weight = nn.Parameter(torch.ones(1, channels))
        self.bias = nn.Parameter(torch.zeros(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        return blended_norm(x, self.rho, self.weight, self.bias)


class AdaptiveResidual(nn.Module):
    """Two 3x3 convolutions beside the identity, normed mostly by instance at first, with the scale and shift that come in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (_conv(width, width, 3) for _ in range(2))
        self.rho1, self.rho2 = (_logits(width, _INSTANCE_MOSTLY) for _ in range(2))

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        features = torch.relu(blended_norm(self.conv1(x), self.rho1, scale, shift))
        return x + blended_norm(self.conv2(features), self.rho2, scale, shift)


class Generator(nn.Module):
    """G: code [N, 2 base, h, w] of either domain -> image [N, C, 4h, 4w] in (-1, 1).

    One scale and shift for all residual blocks comes from the first features: from their means (light), or from all of them
    (full), which ties the network to images of `resolution`.
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
    """Twice the size and half the channels, by sub-pixels."""
    half = width // 2
    convolved = (_conv(width, half, 3), BlendedNorm(half), nn.ReLU())
    return *convolved, nn.Conv2d(half, 4 * half, 1), nn.PixelShuffle(2), BlendedNorm(half), nn.ReLU()
