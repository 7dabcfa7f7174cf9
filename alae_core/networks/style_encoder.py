"""ALAE's style encoder: the mean and deviation of every layer, mapped and summed into one code (ALAE, section 4.1, eq. 9).

Deviation from the code: fromRGB is activated once (there it is twice, by accident).
"""

import torch
from torch import Tensor, nn

from alae_core.layers import Blur, DownConv, EqualConv, EqualLinear, downsample, leaky_relu, style_statistics
from alae_core.networks.style_generator import level_channels


class EncoderBlock(nn.Module):
    """Half the size; gives the features and the block's share of w [N, D]."""

    def __init__(self, inputs: int, outputs: int, latent: int) -> None:
        super().__init__()
        self.conv = EqualConv(inputs, inputs, 3)
        self.bias1 = nn.Parameter(torch.zeros(inputs))
        self.style1 = EqualLinear(2 * inputs, latent)
        self.blur = Blur(inputs)
        self.down_conv = DownConv(inputs, outputs)
        self.bias2 = nn.Parameter(torch.zeros(outputs))
        self.style2 = EqualLinear(2 * outputs, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = leaky_relu(self.conv(x) + self.bias1.view(1, -1, 1, 1))
        first, x = style_statistics(x)
        x = self.down_conv(self.blur(x))
        x = leaky_relu(x + self.bias2.view(1, -1, 1, 1))
        second, x = style_statistics(x)
        return x, self.style1(first) + self.style2(second)


class StyleEncoder(nn.Module):
    """E: image [N, C, R, R] -> w [N, D]."""

    def __init__(self, resolution: int, channels: int, latent: int, base_channels: int, max_channels: int) -> None:
        super().__init__()
        widths = level_channels(resolution, base_channels, max_channels)
        # From 4x4 up, as the generator counts; each block leads to the width of the next coarser one.
        outputs = (min(max_channels, 2 * widths[0]), *widths[:-1])
        self.blocks = nn.ModuleList(EncoderBlock(a, b, latent) for a, b in zip(widths, outputs, strict=True))
        self.from_rgb = nn.ModuleList(EqualConv(channels, width, 1, bias=True) for width in widths)

    def forward(self, images: Tensor, level: int, blend: float = 1.0) -> Tensor:
        x, w = self.blocks[level](leaky_relu(self.from_rgb[level](images)))
        if level > 0 and blend < 1.0:
            coarser = leaky_relu(self.from_rgb[level - 1](downsample(images)))
            # Under autocast the convolution is in half precision, the normalised block in float32.
            x, w = torch.lerp(coarser.to(x.dtype), x, blend), w * blend
        for index in range(level - 1, -1, -1):
            x, share = self.blocks[index](x)
            w = w + share
        return w
