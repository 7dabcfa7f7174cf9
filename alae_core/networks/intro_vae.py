"""IntroVAE's residual encoder and decoder (Huang et al., NeurIPS 2018, appendix), also grown level by level.

Deviations from the code, each with a way back: group norm instead of batch norm, whose running statistics mix reals with
fakes; equal widths have no 1x1 shortcut (there 512 to 512 has one, by accident); the log-variance is bounded.
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
    """How the blocks are normalised."""

    norm: Literal["group", "batch", "none"] = "group"
    """Over groups of channels of each image; over `group` images in a row, in training and evaluation alike; or a bias."""
    norm_after_addition: bool = True
    """The second norm of a block follows the addition (IntroVAE), or precedes it (Soft-IntroVAE)."""
    group: int = 8


def level_widths(resolution: int, base_channels: int, max_channels: int) -> dict[int, int]:
    """Channels by resolution from 4 up: `base_channels` at the last, doubling downwards; 4x4 is as wide as 8x8."""
    widths = level_channels(resolution, base_channels, max_channels)
    by_resolution = {4 * 2**level: width for level, width in enumerate(widths)}
    return by_resolution | {4: by_resolution[min(8, resolution)]}


class Norm(nn.Module):
    """Normalises [N, C, H, W] as the form says, then scales and shifts each channel."""

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
            # The kernel takes the variance as a difference of means; the default epsilon of 1e-5 hides its noise.
            return F.group_norm(x, self.channel_groups, self.weight, self.bias)
        parts = [F.batch_norm(p, None, None, self.weight, self.bias, training=True) for p in x.split(self.form.group)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _channel_groups(channels: int) -> int:
    """At most 32 groups, of 4 channels or more where they divide."""
    most = min(32, max(1, channels // 4))
    return max(groups for groups in range(1, most + 1) if channels % groups == 0)


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `up`: at twice the size of what comes in (nearest neighbour).

    The upsampling is part of the first convolution, and follows the shortcut's: the same linear maps in fewer operations.
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
    """Image [N, C, R, R] -> features [N, width, R, R]."""

    def __init__(self, channels: int, width: int, form: Form) -> None:
        super().__init__()
        self.conv = _conv(channels, width, 5)
        self.norm = Norm(width, form)

    def forward(self, images: Tensor) -> Tensor:
        return _activated(self.norm(self.conv(images)))


class Head(nn.Module):
    """Features [N, width, R / 2, R / 2], or 4x4 ones for 4x4 images -> image [N, C, R, R], not squashed."""

    def __init__(self, width: int, channels: int, form: Form, *, up: bool) -> None:
        super().__init__()
        self.residual = Residual(width, width, form, up=up)
        self.image = nn.Conv2d(width, channels, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.image(self.residual(x))
        return image


class ResidualEncoder(nn.Module):
    """E: image [N, C, R, R] -> mean and bounded log-variance of its posterior, float32 [N, D] each."""

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
    """G: z [N, D] -> image [N, C, R, R], not squashed."""

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
    """A margin for the divergence of fakes: a multiple of the plateau of that of reals, measured while it is followed."""

    value: Tensor
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("value", "total", "weight"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def follow(self, divergence: Tensor, decay: float, ratio: float, *, anew: bool) -> None:
        """Take one more mean divergence of reals into the running mean, the first of a new one if `anew`."""
        keep = 0.0 if anew else decay
        # A mean that starts at 0, by its total weight: without that it would begin too low.
        self.total.mul_(keep).add_(divergence, alpha=1.0 - decay)
        self.weight.mul_(keep).add_(1.0 - decay)
        self.value.copy_(ratio * self.total / self.weight)


def _resolutions(first: int, last: int) -> list[int]:
    return [first * 2**level for level in range((last // first).bit_length())]


def _activated(x: Tensor) -> Tensor:
    # In place: what comes in is a norm's result or a sum, which nothing else reads.
    return F.leaky_relu(x, LEAK, inplace=True)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


def _plain_up_conv(inputs: int, outputs: int) -> UpConv:
    """An upsampling convolution with torch's own initial weights, and no scale at run time."""
    conv = UpConv(inputs, outputs)
    conv.scale = 1.0
    nn.init.kaiming_uniform_(conv.weight, a=math.sqrt(5))
    return conv
