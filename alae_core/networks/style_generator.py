"""The style-based generator (StyleGAN, section 2), grown level by level.

Deviation from ALAE's code: the learned constant is expanded to the batch, so every image has its own noise at 4x4 too.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from alae_core.layers import Blur, EqualConv, StyleModulation, UpConv, instance_norm, leaky_relu, upsample

Noise = Callable[..., Tensor]
"""noise(name, *shape) -> [N, *shape], standard normal."""


def level_channels(resolution: int, base_channels: int, max_channels: int) -> tuple[int, ...]:
    """Channels by level from 4x4 up: `base_channels` at the final resolution, doubling downwards to `max_channels`."""
    levels = resolution.bit_length() - 2
    return tuple(min(max_channels, base_channels * 2 ** (levels - 1 - i)) for i in range(levels))


class Epilogue(nn.Module):
    """Noise, bias, leaky ReLU, instance norm and style, in this order."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.noise_weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style = StyleModulation(latent, channels)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        x = torch.addcmul(x + self.bias.view(1, -1, 1, 1), noise, self.noise_weight.view(1, -1, 1, 1))
        return self.style(instance_norm(leaky_relu(x)), style)


class FirstBlock(nn.Module):
    """The learned 4x4 constant and one convolution."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.ones(1, channels, 4, 4))
        self.first = Epilogue(latent, channels)
        self.conv = EqualConv(channels, channels, 3)
        self.second = Epilogue(latent, channels)

    def forward(self, styles: Sequence[Tensor], noise: tuple[Tensor, Tensor]) -> Tensor:
        x = self.constant.expand(styles[0].shape[0], -1, -1, -1)
        x = self.first(x, styles[0], noise[0])
        return self.second(self.conv(x), styles[1], noise[1])


class UpBlock(nn.Module):
    """Twice the size: upsampling convolution, blur, and a second convolution."""

    def __init__(self, latent: int, inputs: int, channels: int) -> None:
        super().__init__()
        self.up_conv = UpConv(inputs, channels)
        self.blur = Blur(channels)
        self.first = Epilogue(latent, channels)
        self.conv = EqualConv(channels, channels, 3)
        self.second = Epilogue(latent, channels)

    def forward(self, x: Tensor, styles: Sequence[Tensor], noise: tuple[Tensor, Tensor]) -> Tensor:
        x = self.blur(self.up_conv(x))
        x = self.first(x, styles[0], noise[0])
        return self.second(self.conv(x), styles[1], noise[1])


class StyleGenerator(nn.Module):
    """G: styles [N, 2 (level + 1), D] and noise -> image [N, C, R, R], not squashed."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        base_channels: int,
        max_channels: int,
        rgb_gain: float = 0.03,
    ) -> None:
        super().__init__()
        widths = level_channels(resolution, base_channels, max_channels)
        self.first = FirstBlock(latent, widths[0])
        self.blocks = nn.ModuleList(UpBlock(latent, a, b) for a, b in pairwise(widths))
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

    @staticmethod
    def _noise(noise: Noise, index: int) -> tuple[Tensor, Tensor]:
        size = 4 * 2**index
        return noise(f"layer{2 * index}", 1, size, size), noise(f"layer{2 * index + 1}", 1, size, size)
