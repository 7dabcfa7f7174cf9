"""Plain form of StyleALAE's training iteration, for comparisons of speed: algorithm 1 of ALAE (CVPR 2020) and its code.

It has separate passes for fakes and reals, R1 at every iteration, one Adam for {E, D} and one for {F, G}, and loops over
parameters in the optimizers and averages. Deviation from the official code: noise has its own generator.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

from benchmarks.step.reference_networks import Noise, learning_rates

W_MEAN_DECAY = 0.995
HALF_LIFE_KIMG = 10.0

OPTIMIZER_SCOPE = "optimizer"
"""Profiler scope of the optimizer steps and the averages."""


class LoopAdam:
    """Adam without a first moment, in a loop over parameters, each with its own learning rate."""

    def __init__(self, networks: list[nn.Module], beta2: float = 0.99, eps: float = 1e-8) -> None:
        self.rates = [pair for network in networks for pair in learning_rates(network)]
        self.beta2 = beta2
        self.eps = eps
        self.second_moments: dict[nn.Parameter, Tensor] = {}
        self.steps: dict[nn.Parameter, int] = {}

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter, _ in self.rates:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One step: lr * rate * sqrt(1 - beta2^t) * g / (sqrt(v) + eps)."""
        for parameter, rate in self.rates:
            gradient = parameter.grad
            if gradient is None:
                continue
            if parameter not in self.second_moments:
                self.second_moments[parameter] = torch.zeros_like(parameter)
                self.steps[parameter] = 0
            self.steps[parameter] += 1
            moment = self.second_moments[parameter]
            moment.mul_(self.beta2).addcmul_(gradient, gradient, value=1.0 - self.beta2)
            correction = (1.0 - self.beta2 ** self.steps[parameter]) ** 0.5
            parameter.addcdiv_(gradient, moment.sqrt().add_(self.eps), value=-lr * rate * correction)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Random draws of one forward pass of the generator."""

    z: Tensor
    """Codes [N, D]."""
    noise: Noise
    z_mixed: Tensor | None = None
    """Codes [N, D] of the fine layers; None without mixing."""
    cut: Tensor | None = None
    """First layer with the fine code, [N] or [1]."""


@dataclass(kw_only=True)
class Losses:
    """Losses of the three updates of an iteration, over networks with StyleALAE's names."""

    networks: dict[str, nn.Module]
    level: int
    blend: float
    r1_gamma: float
    w_mean: Tensor = field(init=False)
    """Running mean of w by layer, [layers, D]."""

    def __post_init__(self) -> None:
        parameter = next(self.networks["mapping"].parameters())
        self.w_mean = parameter.new_zeros(self.layers, parameter.shape[0])

    @property
    def layers(self) -> int:
        return 2 * (self.level + 1)

    def discriminator(self, real: Tensor, draws: Draws) -> dict[str, Tensor]:
        """Loss terms of E and D, [N] each."""
        with torch.no_grad():
            fake = self.generate(draws)
        fake_logits = self.score(fake)[1]
        images = real.detach().requires_grad_(True)
        real_logits = self.score(images)[1]
        (gradient,) = torch.autograd.grad(real_logits.sum(), images, create_graph=True)
        penalty = torch.sum(gradient**2, dim=(1, 2, 3)) * (self.r1_gamma * 0.5)
        return {"fake": F.softplus(fake_logits), "real": F.softplus(-real_logits), "r1": penalty}

    def generator(self, draws: Draws) -> dict[str, Tensor]:
        """Loss term of F and G, [N]."""
        return {"fake": F.softplus(-self.score(self.generate(draws))[1])}

    def reciprocity(self, draws: Draws) -> dict[str, Tensor]:
        """Loss term of E, G and F, [N]; the target is detached."""
        w = self.networks["mapping"](draws.z)
        code, _ = self.score(self.decode(self.follow(self.broadcast(w)), draws))
        return {"latent": torch.mean((code - w.detach()) ** 2, dim=1)}

    def generate(self, draws: Draws) -> Tensor:
        """Generate images [N, C, R, R] with mixed styles."""
        mapping = self.networks["mapping"]
        styles = self.follow(self.broadcast(mapping(draws.z)))
        if draws.z_mixed is not None and draws.cut is not None:
            fine = self.broadcast(mapping(draws.z_mixed))
            layer = torch.arange(self.layers, device=styles.device).view(1, -1, 1)
            styles = torch.where(layer < draws.cut.view(-1, 1, 1), styles, fine)
        return self.decode(styles, draws)

    def decode(self, styles: Tensor, draws: Draws) -> Tensor:
        """Apply the generator: styles [N, layers, D] -> images [N, C, R, R]."""
        image: Tensor = self.networks["generator"](styles, draws.noise, self.level, self.blend)
        return image

    def score(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Code [N, D] and logits [N]."""
        w = self.networks["encoder"](images, self.level, self.blend)
        return w, self.networks["discriminator"](w)

    def broadcast(self, w: Tensor) -> Tensor:
        """Repeat one code for all layers: [N, D] -> [N, layers, D]."""
        return w.unsqueeze(1).repeat(1, self.layers, 1)

    def follow(self, styles: Tensor) -> Tensor:
        """Move the running mean towards the batch's mean; returns the styles unchanged."""
        self.w_mean.lerp_(styles.detach().mean(0), 1.0 - W_MEAN_DECAY)
        return styles


@dataclass(kw_only=True)
class Reference:
    """Networks, averages and optimizers of one level, and the iteration over them."""

    losses: Losses
    averages: dict[str, nn.Module]
    lr: float
    mixing_probability: float
    generator: torch.Generator
    encoder_optimizer: LoopAdam = field(init=False)
    decoder_optimizer: LoopAdam = field(init=False)

    def __post_init__(self) -> None:
        networks = self.losses.networks
        self.encoder_optimizer = LoopAdam([networks["encoder"], networks["discriminator"]])
        self.decoder_optimizer = LoopAdam([networks["generator"], networks["mapping"]])

    def train_iteration(self, pixels: Tensor) -> dict[str, Tensor]:
        """Run the three updates on uint8 pixels [N, C, R, R] and update the averages; returns the mean of each term."""
        real = self._blended(pixels.to(torch.float32) / 127.5 - 1.0)
        count, networks = len(real), self.losses.networks
        first = self.losses.discriminator(real, self._draws(count, mixing=True))
        self._update(first, self.encoder_optimizer)
        networks["encoder"].requires_grad_(False)
        second = self.losses.generator(self._draws(count, mixing=True))
        self._update(second, self.decoder_optimizer)
        networks["encoder"].requires_grad_(True)
        third = self.losses.reciprocity(self._draws(count, mixing=False))
        self._update(third, self.encoder_optimizer, self.decoder_optimizer)
        self._average(count)
        updates = {"discriminator": first, "generator": second, "reciprocity": third}
        return {f"{name}/{term}": v.detach().mean() for name, terms in updates.items() for term, v in terms.items()}

    def _blended(self, images: Tensor) -> Tensor:
        if self.losses.blend >= 1.0:
            return images
        coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
        return images * self.losses.blend + coarse * (1.0 - self.losses.blend)

    def _update(self, terms: dict[str, Tensor], *optimizers: LoopAdam) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        sum(term.mean() for term in terms.values()).backward()  # type: ignore[union-attr]
        with record_function(OPTIMIZER_SCOPE):
            for optimizer in optimizers:
                optimizer.step(self.lr)

    @torch.no_grad()
    def _average(self, count: int) -> None:
        share = 1.0 - 0.5 ** (count / (1000.0 * HALF_LIFE_KIMG))
        with record_function(OPTIMIZER_SCOPE):
            for name, average in self.averages.items():
                live = self.losses.networks[name]
                for target, source in zip(average.parameters(), live.parameters(), strict=True):
                    target.lerp_(source, share)

    def _draws(self, count: int, mixing: bool) -> Draws:
        device = self.generator.device

        def normal(name: str, *shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=self.generator, device=device)

        latent = self.losses.w_mean.shape[1]
        z = normal("z", latent)
        coin = torch.rand((), generator=self.generator, device=device)
        if not mixing or coin.item() >= self.mixing_probability:
            return Draws(z=z, noise=normal)
        cut = torch.randint(1, self.losses.layers + 1, (1,), generator=self.generator, device=device)
        return Draws(z=z, noise=normal, z_mixed=normal("z_mixed", latent), cut=cut)
