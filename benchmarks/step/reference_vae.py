"""Plain form of the training iterations of IntroVAE and Soft-IntroVAE, for comparisons of speed: their official code.

As there, reconstructions and samples pass through the networks separately, each step decodes them, and torch's Adam loops over
the parameters. IntroVAE's code freezes nothing and computes both steps from one graph. Current torch refuses that graph, because
the encoder has changed, so the second step decodes again. Soft-IntroVAE's code freezes the network that does not step, and
decodes the codes of fakes for a term that weighs 1e-8. Deviation: fakes are targets without a gradient, as in our form.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam
from torch.profiler import record_function

from benchmarks.step.reference import HALF_LIFE_KIMG, OPTIMIZER_SCOPE

OFFICIAL_FAKE_RECONSTRUCTION_WEIGHT = 1e-8
Code = tuple[Tensor, Tensor]
"""Mean and log-variance, [N, D]."""
Draw = Callable[[str, str], Tensor]
"""Function of the names of the update and of the noise that returns standard normal noise [N, D]."""


@dataclass(kw_only=True)
class VaeReference:
    """Networks, averages and optimizers of one resolution; each of the two methods implements `steps`."""

    encoder: Any
    generator: Any
    averages: dict[str, nn.Module]
    config: Any
    """The method's Config; only the first entries of its losses' tuples are used."""
    lr: float
    betas: tuple[float, float]
    draws: torch.Generator
    encoder_optimizer: Adam = field(init=False)
    generator_optimizer: Adam = field(init=False)

    def __post_init__(self) -> None:
        options: dict[str, Any] = {"lr": self.lr, "betas": self.betas, "foreach": False, "fused": False}
        self.encoder_optimizer = Adam(self.encoder.parameters(), **options)
        self.generator_optimizer = Adam(self.generator.parameters(), **options)

    def train_iteration(self, pixels: Tensor) -> dict[str, Tensor]:
        """Run both steps on uint8 pixels [N, C, R, R] and update the averages; returns the two losses."""
        real = pixels.to(torch.float32) / 127.5 - 1.0

        def draw(update: str, name: str) -> Tensor:
            return torch.randn(len(real), self.config.latent, generator=self.draws, device=self.draws.device)

        losses = self.steps(real, draw)
        self._average(len(real))
        return losses

    def steps(self, real: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Run the encoder's and the generator's step on images [N, C, R, R] in [-1, 1]; returns their losses."""
        raise NotImplementedError

    def _step(self, loss: Tensor, optimizer: Adam) -> Tensor:
        self.encoder_optimizer.zero_grad()
        self.generator_optimizer.zero_grad()
        loss.backward()
        with record_function(OPTIMIZER_SCOPE):
            optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _average(self, count: int) -> None:
        share = 1.0 - 0.5 ** (count / (1000.0 * HALF_LIFE_KIMG))
        with record_function(OPTIMIZER_SCOPE):
            for name, live in (("encoder", self.encoder), ("generator", self.generator)):
                for target, source in zip(self.averages[name].parameters(), live.parameters(), strict=True):
                    target.lerp_(source, share)


class IntroVaeReference(VaeReference):
    """IntroVAE."""

    def steps(self, real: Tensor, draw: Draw) -> dict[str, Tensor]:
        loss = self.config.loss
        prior = draw("codes", "prior")
        sample = self.generator(prior)
        code = self.encoder(real)
        z = _drawn(code, draw("codes", "posterior"))
        reconstruction = self.generator(z)
        hinges = self._hinge(reconstruction.detach()) + self._hinge(sample.detach())
        first = loss.reconstruction_weight * _squared_error(reconstruction, real).mean()
        first = first + loss.kl_weight * (_kl(code).mean() + 0.5 * loss.negative_weight * hinges)
        encoder = self._step(first, self.encoder_optimizer)
        sample, reconstruction = self.generator(prior), self.generator(z.detach())
        fakes = _kl(self.encoder(reconstruction)).mean() + _kl(self.encoder(sample)).mean()
        second = loss.reconstruction_weight * _squared_error(reconstruction, real).mean()
        second = second + loss.kl_weight * loss.generator_weight * fakes
        return {"encoder": encoder, "generator": self._step(second, self.generator_optimizer)}

    def _hinge(self, fake: Tensor) -> Tensor:
        """Mean over the groups of images of [margin - mean KL]+."""
        means = _kl(self.encoder(fake)).view(-1, self.config.group).mean(1)
        return F.relu(self.config.loss.margin[0] - means).mean()


class SoftIntroVaeReference(VaeReference):
    """Soft-IntroVAE."""

    def steps(self, real: Tensor, draw: Draw) -> dict[str, Tensor]:
        prior = draw("codes", "prior")
        self.encoder.requires_grad_(True)
        self.generator.requires_grad_(False)
        sample = self.generator(prior)
        code = self.encoder(real)
        z = _drawn(code, draw("codes", "posterior"))
        reconstruction = self.generator(z)
        loss, scale = self.config.loss, self._scale
        first = loss.reconstruction_weight * _squared_error(reconstruction, real) + loss.kl_weight * _kl(code)
        passed = self._passed(reconstruction.detach(), draw("encoder", "posterior of reconstruction"))
        passed = passed + self._passed(sample.detach(), draw("encoder", "posterior of sample"))
        encoder = self._step(scale * first.mean() + 0.25 * passed, self.encoder_optimizer)
        self.encoder.requires_grad_(False)
        self.generator.requires_grad_(True)
        sample, reconstruction = self.generator(prior), self.generator(z.detach())
        second = loss.reconstruction_weight * _squared_error(reconstruction, real).mean()
        second = second + 0.5 * self._fake(reconstruction, draw("generator", "posterior of reconstruction"))
        second = second + 0.5 * self._fake(sample, draw("generator", "posterior of sample"))
        return {"encoder": encoder, "generator": self._step(scale * second, self.generator_optimizer)}

    @property
    def _scale(self) -> float:
        return self.config.loss.scale or 1.0 / (self.config.channels * self.config.resolution**2)

    def _passed(self, fake: Tensor, noise: Tensor) -> Tensor:
        """Mean of exp(-2 s (b_rec error + b_neg KL)) of fakes."""
        loss, code = self.config.loss, self.encoder(fake)
        error = _squared_error(self.generator(_drawn(code, noise)), fake)
        evidence = loss.reconstruction_weight * error + loss.negative_weight[0] * _kl(code)
        return torch.exp(-2.0 * self._scale * evidence).mean()

    def _fake(self, fake: Tensor, noise: Tensor) -> Tensor:
        """Loss of the generator on fakes: their KL, and their reconstruction error."""
        loss, code = self.config.loss, self.encoder(fake)
        weight = loss.fake_reconstruction_weight or OFFICIAL_FAKE_RECONSTRUCTION_WEIGHT
        error = _squared_error(self.generator(_drawn(code, noise).detach()), fake.detach())
        return loss.kl_weight * _kl(code).mean() + weight * loss.reconstruction_weight * error.mean()


METHODS: dict[str, type[VaeReference]] = {"intro_vae": IntroVaeReference, "soft_intro_vae": SoftIntroVaeReference}
"""Kind of an algorithm -> its plain form."""


def _kl(code: Code) -> Tensor:
    """KL divergence from the standard normal, [N], in nats."""
    mean, log_variance = code
    return 0.5 * torch.sum(mean**2 + torch.exp(log_variance) - 1.0 - log_variance, dim=1)


def _drawn(code: Code, noise: Tensor) -> Tensor:
    mean, log_variance = code
    return mean + torch.exp(0.5 * log_variance) * noise


def _squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Squared error [N] of images in [-1, 1], summed as if pixels were in [0, 1]."""
    return torch.sum((a - b) ** 2, dim=(1, 2, 3)) / 4.0
