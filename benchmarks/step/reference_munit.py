"""Plain form of MUNIT's networks and training iteration, for comparisons of speed: its official code.

As there, padding, convolution, norm and activation are separate operations, upsampling is separate from the convolution, AdaIN
uses torch's batch norm, the styles of reals are encoded in both steps, the fakes of the discriminators' step have a graph, and
each image passes through each network separately. Deviations are those of our networks: fewer layers below 64 px, and the same
number of channels in both domains.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.algorithm import DOMAINS
from alae_core.networks.munit import CRITIC_HALVINGS, EPS, STYLE_HALVINGS, halvings_of, scale_sides
from benchmarks.step.reference_translator import Draw, TranslatorReference


class Block(nn.Module):
    """Reflection, convolution, norm, activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, norm: nn.Module | None, activation: nn.Module | None
    ) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d((kernel - 1) // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pad(x))
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)


class AdaIN(nn.Module):
    """AdaIN as batch norm of one image with N C channels, with the last assigned mean and deviation, [N, C] each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight = self.bias = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        count, channels = x.shape[:2]
        mean, variance = x.new_zeros(channels).repeat(count), x.new_ones(channels).repeat(count)
        flat = x.contiguous().view(1, count * channels, *x.shape[2:])
        out = F.batch_norm(flat, mean, variance, self.weight, self.bias, True, 0.1, EPS)
        return out.view_as(x)


class LayerNorm(nn.Module):
    """Layer norm of each image with its unbiased deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(len(x), -1)
        mean, deviation = flat.mean(1).view(-1, 1, 1, 1), flat.std(1).view(-1, 1, 1, 1)
        x = (x - mean) / (deviation + EPS)
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Residual(nn.Module):
    """Residual block of two blocks."""

    def __init__(self, width: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first = Block(width, width, 3, 1, norm(width), nn.ReLU())  # type: ignore[call-arg]
        self.second = Block(width, width, 3, 1, norm(width), None)  # type: ignore[call-arg]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Generator(nn.Module):
    """Generator: the mapping of styles and the decoder."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        widths = [config.base_channels * 2**step for step in reversed(range(config.downsamplings + 1))]
        adain = 2 * config.residual_blocks * 2 * widths[0]
        dense = (nn.Linear(config.latent, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden), nn.ReLU())
        self.mapping = nn.Sequential(*dense, nn.Linear(config.hidden, adain))
        self.blocks = nn.Sequential(*(Residual(widths[0], AdaIN) for _ in range(config.residual_blocks)))
        self.up = nn.Sequential()
        for a, b in pairwise(widths):
            self.up.extend([nn.Upsample(scale_factor=2), Block(a, b, 5, 1, LayerNorm(b), nn.ReLU())])
        self.image = Block(widths[-1], config.channels, 7, 1, None, nn.Tanh())

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        moments = self.mapping(style)
        for layer in self.blocks.modules():
            if isinstance(layer, AdaIN):
                mean, deviation = moments[:, : layer.channels], moments[:, layer.channels : 2 * layer.channels]
                layer.bias, layer.weight = mean.contiguous().view(-1), deviation.contiguous().view(-1)
                moments = moments[:, 2 * layer.channels :]
        image: Tensor = self.image(self.up(self.blocks(content)))
        return image


class Discriminator(nn.Module):
    """Discriminator with one tower for each scale."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.towers = nn.ModuleList(self._tower(config, side) for side in scale_sides(config.resolution, config.scales))

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for tower in self.towers:
            maps.append(tower(images))
            images = F.avg_pool2d(images, 3, stride=2, padding=1, count_include_pad=False)
        return maps

    @staticmethod
    def _tower(config: Any, side: int) -> nn.Sequential:
        halvings = min(CRITIC_HALVINGS, halvings_of(side))
        widths = [config.channels, *(config.base_channels * 2**step for step in range(halvings))]
        return nn.Sequential(
            *(Block(a, b, 4, 2, None, nn.LeakyReLU(0.2)) for a, b in pairwise(widths)), nn.Conv2d(widths[-1], 1, 1)
        )


def fresh(config: Any) -> dict[str, nn.Module]:
    """The eight networks."""
    networks: dict[str, nn.Module] = {}
    for domain in DOMAINS:
        networks |= {
            f"content_encoder_{domain}": _content_encoder(config),
            f"style_encoder_{domain}": _style_encoder(config),
            f"generator_{domain}": Generator(config),
            f"discriminator_{domain}": Discriminator(config),
        }
    return networks


def _content_encoder(config: Any) -> nn.Sequential:
    width = config.base_channels
    layers: list[nn.Module] = [Block(config.channels, width, 7, 1, nn.InstanceNorm2d(width), nn.ReLU())]
    for _ in range(config.downsamplings):
        layers.append(Block(width, 2 * width, 4, 2, nn.InstanceNorm2d(2 * width), nn.ReLU()))
        width *= 2
    return nn.Sequential(*layers, *(Residual(width, nn.InstanceNorm2d) for _ in range(config.residual_blocks)))


def _style_encoder(config: Any) -> nn.Sequential:
    halvings = min(STYLE_HALVINGS, halvings_of(config.resolution))
    widths = [config.base_channels * 2 ** min(step, 2) for step in range(halvings + 1)]
    first = Block(config.channels, widths[0], 7, 1, None, nn.ReLU())
    down = (Block(a, b, 4, 2, None, nn.ReLU()) for a, b in pairwise(widths))
    last = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], config.latent, 1), nn.Flatten())
    return nn.Sequential(first, *down, *last)


class MunitReference(TranslatorReference):
    """MUNIT's two steps."""

    def judges(self, role: str) -> bool:
        return role.startswith("discriminator")

    def steps(self, real: tuple[Tensor, ...], draw: Draw) -> dict[str, Tensor]:
        first = self._step("discriminator", self._discriminator(real, draw))
        return {"discriminator": first, "generator": self._step("generator", self._generator(real, draw))}

    def _discriminator(self, real: tuple[Tensor, ...], draw: Draw) -> Tensor:
        s_a, s_b = (draw("discriminator", f"style_{domain}") for domain in DOMAINS)
        (c_a, _), (c_b, _) = (self._coded(images, domain) for images, domain in zip(real, DOMAINS, strict=True))
        x_ba, x_ab = self.networks["generator_a"](c_b, s_a), self.networks["generator_b"](c_a, s_b)
        total = torch.zeros((), device=x_ab.device)
        for domain, fake, images in zip(DOMAINS, (x_ba, x_ab), real, strict=True):
            critic = self.networks[f"discriminator_{domain}"]
            for on_fake, on_real in zip(critic(fake.detach()), critic(images), strict=True):
                total = total + torch.mean(on_fake**2) + torch.mean((on_real - 1.0) ** 2)
        return self.config.loss.gan_w * total

    def _generator(self, real: tuple[Tensor, ...], draw: Draw) -> Tensor:
        loss, (x_a, x_b) = self.config.loss, real
        g_a, g_b = self.networks["generator_a"], self.networks["generator_b"]
        s_a, s_b = (draw("generator", f"style_{domain}") for domain in DOMAINS)
        (c_a, own_a), (c_b, own_b) = self._coded(x_a, "a"), self._coded(x_b, "b")
        again_a, again_b = g_a(c_a, own_a), g_b(c_b, own_b)
        x_ba, x_ab = g_a(c_b, s_a), g_b(c_a, s_b)
        (c_ba, s_ba), (c_ab, s_ab) = self._coded(x_ba, "a"), self._coded(x_ab, "b")
        total = loss.recon_x_w * (_l1(again_a, x_a) + _l1(again_b, x_b))
        total = total + loss.recon_s_w * (_l1(s_ba, s_a) + _l1(s_ab, s_b))
        total = total + loss.recon_c_w * (_l1(c_ab, c_a) + _l1(c_ba, c_b))
        if loss.recon_x_cyc_w:
            total = total + loss.recon_x_cyc_w * (_l1(g_a(c_ab, own_a), x_a) + _l1(g_b(c_ba, own_b), x_b))
        for domain, fake in zip(DOMAINS, (x_ba, x_ab), strict=True):
            for values in self.networks[f"discriminator_{domain}"](fake):
                total = total + loss.gan_w * torch.mean((values - 1.0) ** 2)
        return total

    def _coded(self, images: Tensor, domain: str) -> tuple[Tensor, Tensor]:
        """Content and style; the official code always computes both."""
        return self.networks[f"content_encoder_{domain}"](images), self.networks[f"style_encoder_{domain}"](images)


def _l1(x: Tensor, y: Tensor) -> Tensor:
    return torch.mean(torch.abs(x - y))
