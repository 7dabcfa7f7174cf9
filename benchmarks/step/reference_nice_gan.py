"""Plain form of NICE-GAN's networks and training iteration, for comparisons of speed: its official code.

As there, padding, convolution, norm and activation are separate operations; weights are divided by their spectral norms, which
are updated by one step in every forward pass; the attention reads two copies of the features; AdaLIN uses torch's variance; each
image passes through each network separately, and through whole discriminators even if only codes are needed; nothing is frozen.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alae_core.algorithm import DOMAINS
from alae_core.networks.nice_gan import SCALE
from benchmarks.step.reference_translator import Draw, TranslatorReference


class SpectralConv(nn.Module):
    """4x4 convolution with a spectral norm and one reflected pixel of padding."""

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool = True) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(1)
        plain = nn.Conv2d(inputs, outputs, 4, bias=bias)
        self.weight, self.bias, self.stride = plain.weight, plain.bias, stride
        self.register_buffer("left", torch.zeros(outputs))
        self.register_buffer("right", torch.zeros(16 * inputs))
        self.every_pass = True
        """Whether to update the norm in every forward pass; otherwise only `follow` updates it."""

    left: Tensor
    right: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.every_pass:
            self.follow()
        sigma = torch.dot(self.left.clone(), torch.mv(self.weight.flatten(1), self.right.clone()))
        return F.conv2d(self.pad(x), self.weight / sigma, self.bias, self.stride)

    @torch.no_grad()
    def follow(self) -> None:
        """Run one step of the power iteration."""
        matrix = self.weight.flatten(1)
        self.right.copy_(F.normalize(torch.mv(matrix.t(), self.left), dim=0))
        self.left.copy_(F.normalize(torch.mv(matrix, self.right), dim=0))


class Encoder(nn.Module):
    """First layers of a discriminator with C0 and the attention; returns the code and C0's logit."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        base = config.base_channels
        self.gamma = nn.Parameter(torch.zeros(()))
        self.conv1, self.conv2 = SpectralConv(config.channels, base, 2), SpectralConv(base, 2 * base, 2)
        self.judge = nn.Linear(4 * base, 1, bias=False)
        self.mix = nn.Conv2d(4 * base, 2 * base, 1)
        self.leaky = nn.LeakyReLU(0.2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.leaky(self.conv2(self.leaky(self.conv1(images))))
        pooled = torch.cat([F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)], 1).flatten(1)
        logit = F.linear(pooled, self.judge.weight / torch.linalg.vector_norm(self.judge.weight))
        attended = self.mix(torch.cat([x, x], 1) * self.judge.weight.unsqueeze(2).unsqueeze(3))
        return self.leaky(self.gamma * attended + x), logit


class Classifiers(nn.Module):
    """C1 and C2."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, halvings = 2 * config.base_channels, config.discriminator_layers - 6
        self.trunk = nn.Sequential(*_doubling(width, [2] * halvings))
        width *= 2**halvings
        self.near = nn.Sequential(*_doubling(width, [1]), SpectralConv(2 * width, 1, 1, bias=False))
        self.far = nn.Sequential(*_doubling(width, [2, 2, 1]), SpectralConv(8 * width, 1, 1, bias=False))

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(code)
        return self.near(features), self.far(features)


def _doubling(width: int, strides: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for stride in strides:
        layers += [SpectralConv(width, 2 * width, stride), nn.LeakyReLU(0.2)]
        width *= 2
    return layers


def blended_norm(x: Tensor, rho: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """AdaLIN: blend instance and layer norm of x [N, C, H, W] by the softmax of rho [C, 2], scale and shift by [N, C]."""
    mean, variance = torch.mean(x, dim=[2, 3], keepdim=True), torch.var(x, dim=[2, 3], keepdim=True)
    instance = (x - mean) / torch.sqrt(variance + 1e-5)
    mean, variance = torch.mean(x, dim=[1, 2, 3], keepdim=True), torch.var(x, dim=[1, 2, 3], keepdim=True)
    layer = (x - mean) / torch.sqrt(variance + 1e-5)
    share = torch.softmax(rho, 1).expand(len(x), -1, -1)
    out = share[:, :, 0, None, None] * instance + share[:, :, 1, None, None] * layer
    return out * scale[:, :, None, None] + shift[:, :, None, None]


class BlendedNorm(nn.Module):
    """AdaLIN with its own scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.zeros(channels, 2))
        self.weight, self.bias = nn.Parameter(torch.ones(1, channels)), nn.Parameter(torch.zeros(1, channels))

    def forward(self, x: Tensor) -> Tensor:
        return blended_norm(x, self.rho, self.weight.expand(len(x), -1), self.bias.expand(len(x), -1))


class Residual(nn.Module):
    """Residual block of two convolutions with AdaLIN."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rho1, self.rho2 = (nn.Parameter(torch.zeros(width, 2)) for _ in range(2))
        self.conv1, self.conv2 = (_conv(width, width, 3) for _ in range(2))

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        features = F.relu(blended_norm(self.conv1(x), self.rho1, scale, shift))
        return x + blended_norm(self.conv2(features), self.rho2, scale, shift)


class Generator(nn.Module):
    """Code -> image."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        base, width, self.form = config.base_channels, 4 * config.base_channels, config.form
        inputs = width * (config.resolution // SCALE) ** 2 if self.form == "full" else width
        self.first = nn.Sequential(_conv(2 * base, width, 3, bias=True), BlendedNorm(width), nn.ReLU())
        dense = (nn.Linear(inputs, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.ReLU())
        self.hidden = nn.Sequential(*dense)
        self.scale, self.shift = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(Residual(width) for _ in range(config.residual_blocks))
        self.up = nn.Sequential(*_up(width), *_up(width // 2))
        self.image = _conv(base, config.channels, 7)

    def forward(self, code: Tensor) -> Tensor:
        x = self.first(code)
        pooled = x if self.form == "full" else F.adaptive_avg_pool2d(x, 1)
        hidden = self.hidden(pooled.flatten(1))
        scale, shift = self.scale(hidden), self.shift(hidden)
        for block in self.blocks:
            x = block(x, scale, shift)
        return torch.tanh(self.image(self.up(x)))


def _conv(inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inputs, outputs, kernel, bias=bias))


def _up(width: int) -> tuple[nn.Module, ...]:
    half = width // 2
    convolved = (_conv(width, half, 3), BlendedNorm(half), nn.ReLU())
    return *convolved, nn.Conv2d(half, 4 * half, 1), nn.PixelShuffle(2), BlendedNorm(half), nn.ReLU()


def fresh(config: Any) -> dict[str, nn.Module]:
    """The six networks: a discriminator is an encoder and classifiers."""
    networks: dict[str, nn.Module] = {}
    for domain in DOMAINS:
        networks |= {
            f"encoder_{domain}": Encoder(config),
            f"classifiers_{domain}": Classifiers(config),
            f"generator_{domain}": Generator(config),
        }
    return networks


class NiceGanReference(TranslatorReference):
    """NICE-GAN's max and min step."""

    def judges(self, role: str) -> bool:
        return not role.startswith("generator")

    def steps(self, real: tuple[Tensor, ...], draw: Draw) -> dict[str, Tensor]:
        first = self._step("discriminator", self._discriminator(real))
        return {"discriminator": first, "generator": self._step("generator", self._generator(real))}

    def _discriminator(self, real: tuple[Tensor, ...]) -> Tensor:
        (a, z_a), (b, z_b) = self._judged(real[0], "a"), self._judged(real[1], "b")
        fake_a, fake_b = self.networks["generator_a"](z_b), self.networks["generator_b"](z_a)
        of_a, of_b = self._judged(fake_a.detach(), "a")[0], self._judged(fake_b.detach(), "b")[0]
        return _squared(a, 1.0) + _squared(b, 1.0) + _squared(of_a, 0.0) + _squared(of_b, 0.0)

    def _generator(self, real: tuple[Tensor, ...]) -> Tensor:
        loss, (a, b) = self.config.loss, real
        g_a, g_b = self.networks["generator_a"], self.networks["generator_b"]
        z_a, z_b = self._judged(a, "a")[1], self._judged(b, "b")[1]
        fake_a, fake_b = g_a(z_b), g_b(z_a)
        (of_a, z_fake_a), (of_b, z_fake_b) = self._judged(fake_a, "a"), self._judged(fake_b, "b")
        cycle = F.l1_loss(g_a(z_fake_b), a) + F.l1_loss(g_b(z_fake_a), b)
        reconstruction = F.l1_loss(g_a(z_a), a) + F.l1_loss(g_b(z_b), b)
        total = loss.adv_weight * (_squared(of_a, 1.0) + _squared(of_b, 1.0))
        return total + loss.cycle_weight * cycle + loss.recon_weight * reconstruction

    def _judged(self, images: Tensor, domain: str) -> tuple[tuple[Tensor, ...], Tensor]:
        """The three logits, and the code."""
        code, logit = self.networks[f"encoder_{domain}"](images)
        return (logit, *self.networks[f"classifiers_{domain}"](code)), code


def _squared(logits: tuple[Tensor, ...], target: float) -> Tensor:
    return sum((F.mse_loss(x, torch.full_like(x, target)) for x in logits), torch.zeros((), device=logits[0].device))
