"""Plain form of IntroVAE's networks, for comparisons of speed: the official code of IntroVAE and of Soft-IntroVAE.

Tensors are contiguous NCHW, each step is one operation, and upsampling and pooling are separate from convolutions. Deviations are
those of our networks, so that both compute the same: group norm, no 1x1 shortcut between equal widths, bounded log-variance.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.layers import LOG_VARIANCE_BOUNDS
from alae_core.networks.intro_vae import Norm, level_widths


class Residual(nn.Module):
    """Residual block; the second norm is after the addition (IntroVAE) or before it (Soft-IntroVAE)."""

    def __init__(self, inputs: int, outputs: int, groups: int, after: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = F.leaky_relu(self.norm1(self.conv1(x)), 0.2)
        x = self.conv2(x)
        if self.after:
            return F.leaky_relu(self.norm2(x + shortcut), 0.2)
        return F.leaky_relu(self.norm2(x) + shortcut, 0.2)


class Encoder(nn.Module):
    """E: image [N, C, R, R] -> mean and log-variance [N, D]. `widths` are the channels from R down to 4x4."""

    def __init__(
        self, widths: tuple[int, ...], channels: int, latent: int, groups: dict[int, int], after: bool
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 5, padding=2, bias=False), nn.GroupNorm(groups[widths[0]], widths[0])
        )
        self.blocks = nn.ModuleList(Residual(a, b, groups[b], after) for a, b in pairwise(widths))
        self.posterior = nn.Linear(widths[-1] * 16, 2 * latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.leaky_relu(self.stem(images), 0.2)
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2))
        mean, log_variance = self.posterior(x.flatten(1)).chunk(2, dim=1)
        return mean, torch.clamp(log_variance, *LOG_VARIANCE_BOUNDS)


class Decoder(nn.Module):
    """G: z [N, D] -> image [N, C, R, R]. `widths` are the channels from R down to 4x4."""

    def __init__(
        self, widths: tuple[int, ...], channels: int, latent: int, groups: dict[int, int], after: bool
    ) -> None:
        super().__init__()
        self.first = nn.Linear(latent, widths[-1] * 16)
        self.blocks = nn.ModuleList(Residual(a, b, groups[b], after) for a, b in pairwise(reversed(widths)))
        self.last = Residual(widths[0], widths[0], groups[widths[0]], after)
        self.image = nn.Conv2d(widths[0], channels, 5, padding=2)

    def forward(self, z: Tensor) -> Tensor:
        x = F.relu(self.first(z)).view(len(z), -1, 4, 4)
        for block in self.blocks:
            x = F.interpolate(block(x), scale_factor=2.0, mode="nearest")
        return self.image(self.last(x))


def reference_of(config: Any, ours: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Networks of the reference with the weights of ours, on the same device, in the same precision, contiguous."""
    by_resolution = level_widths(config.resolution, config.base_channels, config.max_channels)
    widths = tuple(reversed(by_resolution.values()))
    groups = {len(norm.bias): norm.channel_groups for norm in ours["encoder"].modules() if isinstance(norm, Norm)}
    sizes = (widths, config.channels, config.latent, groups, config.norm_after_addition)
    with torch.random.fork_rng(devices=[]):
        theirs = {"encoder": Encoder(*sizes), "generator": Decoder(*sizes)}
    own = next(ours["encoder"].parameters())
    networks = {name: network.to(own.device, own.dtype) for name, network in theirs.items()}
    with torch.no_grad():
        for parameter, value in weights(ours, networks):
            parameter.copy_(value)
    return networks


def weights(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """Pairs of each parameter of the reference with its counterpart in our networks, each once."""
    for mine, other in _modules(ours["encoder"], ours["generator"], theirs["encoder"], theirs["generator"]):
        yield from zip(other.parameters(), mine.parameters(), strict=True)


def _modules(encoder: Any, decoder: Any, their_encoder: Any, their_decoder: Any) -> Iterator[tuple[Any, Any]]:
    (stem,), (head,) = encoder.stems.values(), decoder.heads.values()
    yield stem, their_encoder.stem
    yield from zip(reversed(encoder.blocks.values()), their_encoder.blocks, strict=True)
    yield encoder.posterior, their_encoder.posterior
    yield decoder.first, their_decoder.first
    yield from zip(decoder.blocks.values(), their_decoder.blocks, strict=True)
    yield head.residual, their_decoder.last
    yield head.image, their_decoder.image
