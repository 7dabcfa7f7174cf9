"""StyleGAN's discriminator (StyleGAN, appendix C; ProGAN, section 2 and table 2), which grows level by level.

Deviation from the official code: the minibatch deviation is over consecutive images, see `layers.minibatch_stddev`.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from alae_core.layers import Blur, DownConv, EqualConv, EqualLinear, downsample, leaky_relu, minibatch_stddev
from alae_core.networks.style_generator import level_channels


class DownBlock(nn.Module):
    """Convolution, blur and downsampling convolution: [N, inputs, R, R] -> [N, outputs, R/2, R/2]."""

    def __init__(self, inputs: int, outputs: int, blur: bool) -> None:
        super().__init__()
        self.conv = EqualConv(inputs, inputs, 3, bias=True)
        self.blur = Blur(inputs) if blur else nn.Identity()
        self.down_conv = DownConv(inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down_conv(self.blur(leaky_relu(self.conv(x))))
        # A float32 bias would convert half precision to float32.
        return leaky_relu(x + self.bias.to(x.dtype).view(1, -1, 1, 1))


class LastBlock(nn.Module):
    """Last layers: 4x4 features [N, C, 4, 4] and their minibatch deviation -> logits [N]."""

    def __init__(self, channels: int, hidden: int, stddev_group: int) -> None:
        super().__init__()
        self.stddev_group = stddev_group
        self.conv = EqualConv(channels + (stddev_group > 1), channels, 3, bias=True)
        self.dense = EqualLinear(channels * 4 * 4, hidden)
        self.output = EqualLinear(hidden, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        if self.stddev_group > 1:
            x = minibatch_stddev(x, self.stddev_group)
        x = leaky_relu(self.conv(x))
        logits: Tensor = self.output(leaky_relu(self.dense(x.flatten(1))))
        return logits.squeeze(1)


class StyleDiscriminator(nn.Module):
    """Discriminator D: image [N, C, R, R] -> logits [N].

    The minibatch deviation is over groups of `stddev_group` consecutive images, of which N must be a multiple (ValueError);
    1 leaves it out. Without `blur` features are box-averaged, as in ProGAN.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        base_channels: int,
        max_channels: int,
        *,
        blur: bool = True,
        stddev_group: int = 4,
    ) -> None:
        super().__init__()
        widths = level_channels(resolution, base_channels, max_channels)
        # Ordered from 4x4 up, as in the generator; each block outputs the width of the next coarser level.
        self.last = LastBlock(widths[0], min(max_channels, 2 * widths[0]), stddev_group)
        self.blocks = nn.ModuleList(DownBlock(fine, coarse, blur) for coarse, fine in pairwise(widths))
        self.from_rgb = nn.ModuleList(EqualConv(channels, width, 1, bias=True) for width in widths)

    def forward(self, images: Tensor, level: int, blend: float = 1.0) -> Tensor:
        x = leaky_relu(self.from_rgb[level](images))
        for index in range(level, 0, -1):
            x = self.blocks[index - 1](x)
            if index == level and blend < 1.0:
                coarser = leaky_relu(self.from_rgb[level - 1](downsample(images)))
                x = torch.lerp(coarser, x, blend)
        logits: Tensor = self.last(x)
        return logits
