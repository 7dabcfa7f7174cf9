"""Conversion of our StyleALAE's weights to the reference's, which are our runtime-scaled weights times their scales."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from alae_core.algorithms import style_alae
from alae_core.networks.style_generator import level_channels
from benchmarks.step import reference_networks

Pairs = list[tuple[nn.Parameter, Tensor]]
"""Parameter of the reference, and its value from our networks."""


def reference_of(config: style_alae.Config, ours: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Networks of the reference with the weights of ours, on the same device, in the same precision, contiguous."""
    own = next(ours["mapping"].parameters())
    networks = {name: network.to(own.device, own.dtype) for name, network in _fresh(config).items()}
    with torch.no_grad():
        for parameter, value in weights(ours, networks):
            parameter.copy_(value)
    return networks


def _fresh(config: style_alae.Config) -> dict[str, nn.Module]:
    widths = level_channels(config.resolution, config.base_channels, config.max_channels)
    coarsest = min(config.max_channels, 2 * widths[0])
    multiplier = config.mapping_lr_multiplier
    with torch.random.fork_rng(devices=[]):
        return {
            "mapping": reference_networks.Mapping(config.latent, config.mapping_layers, multiplier),
            "generator": reference_networks.Generator(widths, config.channels, config.latent, config.rgb_gain),
            "encoder": reference_networks.Encoder(widths, coarsest, config.channels, config.latent),
            "discriminator": reference_networks.Discriminator(config.latent, multiplier),
        }


def weights(ours: dict[str, Any], theirs: dict[str, Any], of_gradients: bool = False) -> Pairs:
    """Pairs of each parameter of the reference with its value from our parameters, each once.

    With `of_gradients` values are gradients: by the chain rule the reference's gradient is ours divided by the scale.
    """
    read = _Reader(of_gradients)
    pairs = [*read.linears(ours["mapping"].layers, theirs["mapping"].layers)]
    pairs += read.linears(ours["discriminator"].layers, theirs["discriminator"].layers)
    pairs += read.generator(ours["generator"], theirs["generator"])
    pairs += read.encoder(ours["encoder"], theirs["encoder"])
    return pairs


class _Reader:
    """Pairs parameters of modules; reads values or gradients. A parameter without gradient gives zeros."""

    def __init__(self, of_gradients: bool) -> None:
        self.of_gradients = of_gradients

    def generator(self, ours: Any, theirs: Any) -> Pairs:
        first = theirs.blocks[0]
        pairs = [(theirs.constant, self._value(ours.first.constant))]
        pairs += self._block(ours.first, first)
        for mine, other in zip(ours.blocks, theirs.blocks[1:], strict=True):
            weight = self._value(mine.up_conv.weight, mine.up_conv.scale)
            # A transposed convolution applies the kernel flipped.
            value = weight.flip(2, 3).transpose(0, 1) if other.up_conv.fused else weight
            pairs += [(other.up_conv.weight, value), *self._block(mine, other)]
        return pairs + self._convs(ours.to_rgb, theirs.to_rgb)

    def encoder(self, ours: Any, theirs: Any) -> Pairs:
        pairs: Pairs = []
        for mine, other in zip(ours.blocks, theirs.blocks, strict=True):
            pairs += self._convs([mine.conv, mine.down_conv], [other.conv, other.down_conv])
            pairs += self.linears([mine.style1, mine.style2], [other.style1, other.style2])
            pairs += [self._plain(mine.bias1, other.bias1), self._plain(mine.bias2, other.bias2)]
        return pairs + self._convs(ours.from_rgb, theirs.from_rgb)

    def linears(self, ours: Iterable[Any], theirs: Iterable[Any]) -> Pairs:
        pairs: Pairs = []
        for mine, other in zip(ours, theirs, strict=True):
            pairs.append((other.weight, self._value(mine.weight, mine.weight_scale)))
            pairs.append((other.bias, self._value(mine.bias, mine.bias_scale)))
        return pairs

    def _convs(self, ours: Iterable[Any], theirs: Iterable[Any]) -> Pairs:
        pairs: Pairs = []
        for mine, other in zip(ours, theirs, strict=True):
            pairs.append((other.weight, self._value(mine.weight, mine.scale)))
            if mine.bias is not None:
                pairs.append((other.bias, self._value(mine.bias)))
        return pairs

    def _block(self, ours: Any, theirs: Any) -> Pairs:
        pairs = self._convs([ours.conv], [theirs.conv])
        for mine, other in ((ours.first, theirs.first), (ours.second, theirs.second)):
            pairs += [self._plain(mine.noise_weight, other.noise_weight), self._plain(mine.bias, other.bias)]
            pairs += self.linears([mine.style.affine], [other.style])
        return pairs

    def _plain(self, mine: nn.Parameter, other: nn.Parameter) -> tuple[nn.Parameter, Tensor]:
        return other, self._value(mine).view(other.shape)

    def _value(self, parameter: nn.Parameter, scale: float = 1.0) -> Tensor:
        if not self.of_gradients:
            return parameter.detach() * scale
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return gradient / scale
