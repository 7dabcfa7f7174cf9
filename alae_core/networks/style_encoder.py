"""ALAE's style encoder, which maps the mean and deviation of every layer and sums them into one code (ALAE, section 4.1).

Deviations from the official code, each with an option to restore it: fromRGB is activated once (there twice, by accident);
the deviation and the instance norm share an epsilon of 1e-8 (there 0 and 1e-5).
"""

import torch
from torch import Tensor, nn

from alae_core.layers import (
    Blur,
    DownConv,
    EqualConv,
    EqualLinear,
    activated_statistics,
    downsample,
    leaky_relu,
)
from alae_core.networks.style_generator import level_channels


class EncoderBlock(nn.Module):
    """Two convolutions with style statistics: [N, inputs, R, R] -> [N, outputs, R/2, R/2], and a summand of w [N, D]."""

    def __init__(
        self, inputs: int, outputs: int, latent: int, deviation_eps: float = 1e-8, norm_eps: float = 1e-8
    ) -> None:
        super().__init__()
        self.statistics = activated_statistics(deviation_eps, norm_eps)
        self.conv = EqualConv(inputs, inputs, 3)
        self.bias1 = nn.Parameter(torch.zeros(inputs))
        self.style1 = EqualLinear(2 * inputs, latent)
        self.blur = Blur(inputs)
        self.down_conv = DownConv(inputs, outputs)
        self.bias2 = nn.Parameter(torch.zeros(outputs))
        self.style2 = EqualLinear(2 * outputs, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, x = self.statistics(self.conv(x), self.bias1)
        second, x = self.statistics(self.down_conv(self.blur(x)), self.bias2)
        return x, self.style1(first) + self.style2(second)


class StyleEncoder(nn.Module):
    """Encoder E: image [N, C, R, R] -> w [N, D].

    `deviation_eps` is under the root of the deviations (with 0 the gradient of a constant channel is not finite), `norm_eps`
    in the instance norm. `activations` is the number of leaky ReLUs after fromRGB; two have a negative slope of 0.04.
    """

    # w = sum_i C_i [mu_i; sigma_i] over the layers i, C_i linear (ALAE, section 4.1)

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        base_channels: int,
        max_channels: int,
        *,
        deviation_eps: float = 1e-8,
        norm_eps: float = 1e-8,
        activations: int = 1,
    ) -> None:
        super().__init__()
        widths = level_channels(resolution, base_channels, max_channels)
        # Ordered from 4x4 up, as in the generator; each block outputs the width of the next coarser one.
        outputs = (min(max_channels, 2 * widths[0]), *widths[:-1])
        self.blocks = nn.ModuleList(
            EncoderBlock(a, b, latent, deviation_eps, norm_eps) for a, b in zip(widths, outputs, strict=True)
        )
        self.from_rgb = nn.ModuleList(EqualConv(channels, width, 1, bias=True) for width in widths)
        self.activations = activations

    def forward(self, images: Tensor, level: int, blend: float = 1.0) -> Tensor:
        x, w = self.blocks[level](self._features(images, level))
        if level > 0 and blend < 1.0:
            coarser = self._features(downsample(images), level - 1)
            # Under autocast the convolution's result is in half precision, the normalised block's in float32.
            x, w = torch.lerp(coarser.to(x.dtype), x, blend), w * blend
        for index in range(level - 1, -1, -1):
            x, share = self.blocks[index](x)
            w = w + share
        return w

    def _features(self, images: Tensor, level: int) -> Tensor:
        x = self.from_rgb[level](images)
        for _ in range(self.activations):
            x = leaky_relu(x)
        return x
