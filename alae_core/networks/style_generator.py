"""Style-based generator (StyleGAN, section 2), which grows level by level, and the forms that lead to it (table 1).

Deviation from the official ALAE: the learned constant is expanded to the batch, so each image has its own noise at 4x4 too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.layers import (
    Blur,
    EqualConv,
    StyleModulation,
    UpConv,
    activated,
    activated_styled,
    noisy_styled,
    pixel_norm,
    upsample,
)

Noise = Callable[..., Tensor]
"""Function noise(name, *shape) that returns standard normal noise [N, *shape]."""
NoisePair = tuple[Tensor | None, Tensor | None]
"""Noise of a block's two layers."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """Parts of StyleGAN that the generator has; without any it is ProGAN's."""

    blur: bool = True
    """Apply a binomial filter after upsampling and before downsampling (bilinear instead of nearest and box)."""
    styles: bool = True
    """Let the code scale and shift the instance-normalised channels of each layer; otherwise use pixel norm."""
    constant_input: bool = True
    """Learn the 4x4 features as a constant; otherwise a dense layer computes them from the first code."""
    noise: bool = True
    """Add noise in each layer."""

    def __post_init__(self) -> None:
        if self.constant_input and not self.styles:
            raise ValueError(
                "algorithm.form.constant_input=true leaves no way into the generator for a code where "
                "algorithm.form.styles=false; set constant_input=false or styles=true"
            )


STYLEGAN = Form()
"""All parts, as in the generators of StyleGAN and StyleALAE."""


def level_channels(resolution: int, base_channels: int, max_channels: int) -> tuple[int, ...]:
    """Channels by level from 4x4 up: `base_channels` at `resolution`, doubled at each lower level, up to `max_channels`."""
    levels = resolution.bit_length() - 2
    return tuple(min(max_channels, base_channels * 2 ** (levels - 1 - i)) for i in range(levels))


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm and style, in this order; pixel norm replaces the last two without styles."""

    def __init__(self, latent: int, channels: int, form: Form = STYLEGAN) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(channels)) if form.noise else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style = StyleModulation(latent, channels) if form.styles else None

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        if self.style is None:
            return pixel_norm(activated(self._with_noise(x, noise), self.bias))
        scales = self.style.affine(style)
        if noise is None or self.noise_weight is None:
            return activated_styled(x, self.bias, scales)
        return noisy_styled(x, self.bias, noise, self.noise_weight, scales)

    def _with_noise(self, x: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None or self.noise_weight is None:
            return x
        return torch.addcmul(x, noise, self.noise_weight.view(1, -1, 1, 1))


class DenseInput(nn.Module):
    """Equalised linear layer without bias (the epilogue adds it): code [N, D] -> features [N, C, 4, 4]."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels * 4 * 4, latent))
        # A quarter of the usual gain, as in ProGAN's code.
        self.scale = math.sqrt(2.0) / 4 / math.sqrt(latent)

    def forward(self, code: Tensor) -> Tensor:
        features = F.linear(code, self.weight * self.scale).unflatten(1, (-1, 4, 4))
        return features.contiguous(memory_format=torch.channels_last)


class FirstBlock(nn.Module):
    """Learned 4x4 constant and one convolution."""

    def __init__(self, latent: int, channels: int, form: Form = STYLEGAN) -> None:
        super().__init__()
        self._add_input(latent, channels)
        self.first = Epilogue(latent, channels, form)
        self.conv = EqualConv(channels, channels, 3)
        self.second = Epilogue(latent, channels, form)

    def forward(self, styles: Sequence[Tensor], noise: NoisePair) -> Tensor:
        x = self.first(self._features(styles[0]), styles[0], noise[0])
        return self.second(self.conv(x), styles[1], noise[1])

    def _add_input(self, latent: int, channels: int) -> None:
        self.constant = nn.Parameter(torch.ones(1, channels, 4, 4))

    def _features(self, code: Tensor) -> Tensor:
        # In the memory layout of all other layers, because kernels are compiled for each layout.
        return self.constant.expand(code.shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)


class DenseFirstBlock(FirstBlock):
    """Dense layer from the first code to 4x4 features, and one convolution (ProGAN, table 2)."""

    def _add_input(self, latent: int, channels: int) -> None:
        self.dense = DenseInput(latent, channels)

    def _features(self, code: Tensor) -> Tensor:
        features: Tensor = self.dense(code)
        return features


class UpBlock(nn.Module):
    """Upsampling convolution, blur and a second convolution: [N, inputs, R, R] -> [N, channels, 2R, 2R]."""

    def __init__(self, latent: int, inputs: int, channels: int, form: Form = STYLEGAN) -> None:
        super().__init__()
        self.up_conv = UpConv(inputs, channels)
        self.blur = Blur(channels) if form.blur else nn.Identity()
        self.first = Epilogue(latent, channels, form)
        self.conv = EqualConv(channels, channels, 3)
        self.second = Epilogue(latent, channels, form)

    def forward(self, x: Tensor, styles: Sequence[Tensor], noise: NoisePair) -> Tensor:
        x = self.blur(self.up_conv(x))
        x = self.first(x, styles[0], noise[0])
        return self.second(self.conv(x), styles[1], noise[1])


class StyleGenerator(nn.Module):
    """Generator G: styles [N, 2 (level + 1), D] and noise -> image [N, C, R, R], without output activation.

    A `form` without styles reads only the first code; a `form` without noise draws none.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        base_channels: int,
        max_channels: int,
        rgb_gain: float = 0.03,
        form: Form = STYLEGAN,
    ) -> None:
        super().__init__()
        self.form = form
        widths = level_channels(resolution, base_channels, max_channels)
        self.first = (FirstBlock if form.constant_input else DenseFirstBlock)(latent, widths[0], form)
        self.blocks = nn.ModuleList(UpBlock(latent, a, b, form) for a, b in pairwise(widths))
        self.to_rgb = nn.ModuleList(EqualConv(width, channels, 1, gain=rgb_gain, bias=True) for width in widths)

    def forward(self, styles: Tensor, noise: Noise, level: int, blend: float = 1.0) -> Tensor:
        by_layer = styles.unbind(1)
        x = self.first(by_layer[:2], self._noise(noise, 0))
        coarser = x
        for index in range(1, level + 1):
            coarser = x
            x = self.blocks[index - 1](x, by_layer[2 * index : 2 * index + 2], self._noise(noise, index))
        image = self.to_rgb[level](x)
        if level > 0 and blend < 1.0:
            image = torch.lerp(upsample(self.to_rgb[level - 1](coarser)), image, blend)
        return image

    def _noise(self, noise: Noise, index: int) -> NoisePair:
        if not self.form.noise:
            return None, None
        size = 4 * 2**index
        return noise(f"layer{2 * index}", 1, size, size), noise(f"layer{2 * index + 1}", 1, size, size)
