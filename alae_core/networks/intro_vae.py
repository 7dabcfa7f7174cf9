"""IntroVAE's residual encoder and decoder (Huang et al., NeurIPS 2018, appendix), which can also grow level by level.

Deviations from the official code: group norm by default instead of batch norm, whose running statistics mix reals with
fakes; blocks of equal width have no 1x1 shortcut (there 512 to 512 has one, by accident); the log-variance is bounded.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.layers import LEAK, UpConv, downsample, posterior, upsample
from alae_core.networks.style_generator import level_channels


@dataclass(frozen=True, kw_only=True)
class Form:
    """Normalisation of the blocks."""

    norm: Literal["group", "batch", "none"] = "group"
    """Group norm; batch norm over `group` consecutive images, in training and evaluation alike; or only a bias."""
    norm_after_addition: bool = True
    """Whether a block's second norm follows the addition (IntroVAE) or precedes it (Soft-IntroVAE)."""
    group: int = 8


def level_widths(resolution: int, base_channels: int, max_channels: int) -> dict[int, int]:
    """Channels by resolution from 4 up: `base_channels` at the highest, doubled at each lower one, up to `max_channels`.

    4x4 has as many channels as 8x8.
    """
    widths = level_channels(resolution, base_channels, max_channels)
    by_resolution = {4 * 2**level: width for level, width in enumerate(widths)}
    return by_resolution | {4: by_resolution[min(8, resolution)]}


class Norm(nn.Module):
    """Normalise [N, C, H, W] by the form's norm, then scale and shift each channel."""

    def __init__(self, channels: int, form: Form) -> None:
        super().__init__()
        self.form = form
        self.weight = None if form.norm == "none" else nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.channel_groups = _channel_groups(channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.form.norm == "none":
            return x + self.bias.view(1, -1, 1, 1)
        if self.form.norm == "group":
            # The kernel computes the variance as a difference of means; the default epsilon of 1e-5 hides its noise.
            return F.group_norm(x, self.channel_groups, self.weight, self.bias)
        parts = [F.batch_norm(p, None, None, self.weight, self.bias, training=True) for p in x.split(self.form.group)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _channel_groups(channels: int) -> int:
    """Largest divisor of `channels` up to 32 that leaves at least 4 channels per group."""
    most = min(32, max(1, channels // 4))
    return max(groups for groups in range(1, most + 1) if channels % groups == 0)


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions; with `up` it doubles the size by nearest-neighbour upsampling.

    The upsampling is part of the first convolution and comes after the shortcut's, which gives the same linear maps with
    fewer operations.
    """

    def __init__(self, inputs: int, outputs: int, form: Form, *, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.norm_after_addition = form.norm_after_addition
        self.conv1 = _plain_up_conv(inputs, outputs) if up else _conv(inputs, outputs, 3)
        self.norm1 = Norm(outputs, form)
        self.conv2 = _conv(outputs, outputs, 3)
        self.norm2 = Norm(outputs, form)
        self.shortcut = nn.Identity() if inputs == outputs else _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv2(_activated(self.norm1(self.conv1(x))))
        shortcut = self.shortcut(x)
        if self.up:
            shortcut = upsample(shortcut)
        if self.norm_after_addition:
            return _activated(self.norm2(features + shortcut))
        return _activated(self.norm2(features) + shortcut)


class Stem(nn.Module):
    """First layers of the encoder: image [N, C, R, R] -> features [N, width, R, R]."""

    def __init__(self, channels: int, width: int, form: Form) -> None:
        super().__init__()
        self.conv = _conv(channels, width, 5)
        self.norm = Norm(width, form)

    def forward(self, images: Tensor) -> Tensor:
        return _activated(self.norm(self.conv(images)))


class Head(nn.Module):
    """Last layers of the decoder: features [N, width, R / 2, R / 2] -> image [N, C, R, R], without output activation.

    For 4x4 images the features are 4x4 too.
    """

    def __init__(self, width: int, channels: int, form: Form, *, up: bool) -> None:
        super().__init__()
        self.residual = Residual(width, width, form, up=up)
        self.image = nn.Conv2d(width, channels, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.image(self.residual(x))
        return image


class ResidualEncoder(nn.Module):
    """Encoder E: image [N, C, R, R] -> mean and bounded log-variance of its posterior, float32 [N, D] each."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        base_channels: int,
        max_channels: int,
        form: Form,
        first_resolution: int | None = None,
    ) -> None:
        super().__init__()
        widths = level_widths(resolution, base_channels, max_channels)
        levels = _resolutions(first_resolution or resolution, resolution)
        self.stems = nn.ModuleDict({str(r): Stem(channels, widths[r], form) for r in levels})
        self.blocks = nn.ModuleDict(
            {str(r): Residual(widths[2 * r], widths[r], form) for r in widths if r < resolution}
        )
        self.posterior = nn.Linear(widths[4] * 4 * 4, 2 * latent)

    def forward(self, images: Tensor, depth: int, blend: float = 1.0) -> tuple[Tensor, Tensor]:
        size = 4 * 2**depth
        x = self.stems[str(size)](images)
        while size > 4:
            size //= 2
            x = self.blocks[str(size)](downsample(x))
            if blend < 1.0 and 2 * size == images.shape[-1]:
                coarser = self.stems[str(size)](downsample(images))
                x = torch.lerp(coarser.to(x.dtype), x, blend)
        return posterior(self.posterior(x.flatten(1)))


class ResidualDecoder(nn.Module):
    """Generator G: z [N, D] -> image [N, C, R, R], without output activation."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        latent: int,
        base_channels: int,
        max_channels: int,
        form: Form,
        first_resolution: int | None = None,
    ) -> None:
        super().__init__()
        widths = level_widths(resolution, base_channels, max_channels)
        levels = _resolutions(first_resolution or resolution, resolution)
        self.first = nn.Linear(latent, widths[4] * 4 * 4)
        self.blocks = nn.ModuleDict(
            {str(r): Residual(widths[r], widths[2 * r], form, up=r > 4) for r in widths if r < resolution}
        )
        self.heads = nn.ModuleDict({str(r): Head(widths[r], channels, form, up=r > 4) for r in levels})

    def forward(self, z: Tensor, depth: int, blend: float = 1.0) -> Tensor:
        size = 4 * 2**depth
        x = torch.relu(self.first(z)).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        coarser = x
        for finer in _resolutions(8, size):
            coarser, x = x, self.blocks[str(finer // 2)](x)
        image: Tensor = self.heads[str(size)](x)
        if blend < 1.0 and size > 4:
            image = torch.lerp(upsample(self.heads[str(size // 2)](coarser)), image, blend)
        return image


class Margin(nn.Module):
    """Margin m for the KL of fakes, in nats: a multiple of the running mean of the KL of reals."""

    value: Tensor
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("value", "total", "weight"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def follow(self, divergence: Tensor, decay: float, ratio: float, *, anew: bool) -> None:
        """Add the mean KL of a batch of reals to the running mean, or start a new mean with it if `anew`."""
        keep = 0.0 if anew else decay
        # The sum is divided by its total weight, because a mean that starts at 0 would be too low.
        self.total.mul_(keep).add_(divergence, alpha=1.0 - decay)
        self.weight.mul_(keep).add_(1.0 - decay)
        self.value.copy_(ratio * self.total / self.weight)


def _resolutions(first: int, last: int) -> list[int]:
    return [first * 2**level for level in range((last // first).bit_length())]


def _activated(x: Tensor) -> Tensor:
    # In place, because nothing else reads the input, which is the result of a norm or a sum.
    return F.leaky_relu(x, LEAK, inplace=True)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def _plain_up_conv(inputs: int, outputs: int) -> UpConv:
    """Upsampling convolution with torch's default initial weights and without a runtime scale."""
    conv = UpConv(inputs, outputs)
    conv.scale = 1.0
    nn.init.kaiming_uniform_(conv.weight, a=math.sqrt(5))
    return conv
