"""Soft-IntroVAE (Daniel and Tamar, CVPR 2021): IntroVAE with an exponential of the fakes' ELBO instead of the hinge.

Deviations from the official code: fakes are targets without a gradient (there one target has a gradient, by accident); the
warm-up keeps the scale s, so that Adam's moments fit the later losses. All symbols and options: docs/introvae.md.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.alarms import Alarm
from alae_core.alarms import introspection as health
from alae_core.algorithm import Batch, Update
from alae_core.algorithms.introspection import Introspection, Posterior, ResidualConfig, check_weights
from alae_core.schedule import Level, at_level


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the squared error per image (pixels in [0, 1]) and of the KL in nats; tuples have a value per level."""

    reconstruction_weight: float = 0.5
    """Weight of the squared error of reconstructions, summed over the pixels of an image."""
    kl_weight: float = 1.0
    """b_kl: weight of the KL of reals for the encoder, and of fakes for the generator."""
    negative_weight: tuple[float, ...] = (256.0,)
    """b_neg: weight of the KL of fakes in the exponent, which decays over 1 / (2 scale negative_weight) nats."""
    fake_reconstruction_weight: float = 0.0
    """gamma_r: weight of the fakes' reconstruction for the generator; the official 1e-8 is lost in float32 sums."""
    scale: float | None = None
    """s: factor of all losses; None: 1 / (channels resolution^2) with the full resolution at all levels."""
    warmup_kimg: tuple[float, ...] = (0.0,)
    """Images, in thousands, for which each level first trains as a plain VAE."""

    def __post_init__(self) -> None:
        check_weights(self, "negative_weight", "warmup_kimg")
        if self.scale is not None and self.scale <= 0:
            raise ValueError(f"algorithm.loss.scale={self.scale}; give more than 0, or leave it out for 1 / (C R^2)")


@dataclass(frozen=True, kw_only=True)
class Config(ResidualConfig):
    """Soft-IntroVAE on residual networks."""

    kind: Literal["soft_intro_vae"] = "soft_intro_vae"
    norm_after_addition: bool = False
    """The second norm of a block follows the addition (IntroVAE), or precedes it (Soft-IntroVAE)."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses, and the length of the warm-up."""

    charts = health.SOFT_CHARTS

    def alarms(self) -> tuple[Alarm, ...]:
        return health.soft_alarms(self.latent, self.loss.warmup_kimg)

    def search_space(self) -> tuple[str, ...]:
        return health.SOFT_SPACE

    def build(self) -> "SoftIntroVAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        algorithm = SoftIntroVAE(self.networks(), self.latent, self.resolution, self.channels, self.loss)
        algorithm.together = self.together
        return algorithm


class SoftIntroVAE(Introspection):
    """Soft-IntroVAE with two updates per iteration."""

    loss: LossConfig
    encoders: tuple[str, ...] = ("encoder",)
    """Networks that compute the posterior; the others decode."""

    def __init__(
        self, networks: dict[str, nn.Module], latent: int, resolution: int, channels: int, loss: LossConfig
    ) -> None:
        super().__init__(networks, latent, resolution)
        self.loss = loss
        self.scale = 1.0 / (channels * resolution**2) if loss.scale is None else loss.scale

    def updates(self, nimg: int) -> tuple[Update, ...]:
        generators = tuple(role for role in self.networks if role not in self.encoders)
        return (
            Update(name="encoder", trains=self.encoders, loss=self._encoder, level_weights=self._encoder_weights),
            Update(name="generator", trains=generators, loss=self._generator, level_weights=self._generator_weights),
        )

    def _encoder(self, batch: Batch) -> dict[str, Tensor]:
        real, networks = batch.images[0], self.networks
        posterior, z = self._encoded(batch)
        reconstruction = self.decode(networks, self.mapped(networks, z), batch)
        # L_E = s (b_rec L_r(x) + b_kl KL(x)) + 1/4 sum_(f in {r, p}) exp(-2 s (b_rec L_r(x_f) + b_neg KL(x_f)))
        # (Soft-IntroVAE; official soft_intro_vae/train_soft_intro_vae.py)
        terms = {"reconstruction": self._error(reconstruction, real, batch), "kl_real": posterior.kl()}
        if self._warming(batch.level):
            return terms
        with torch.no_grad():
            fakes = torch.cat([reconstruction, self.decode(networks, self._prior(batch), batch)])
        of_fakes = self.encode(networks, fakes, batch)
        again = self.decode(networks, self.mapped(networks, self._redrawn(of_fakes, batch)), batch)
        divergences, errors = of_fakes.kl(), self._error(again, fakes, batch)
        weights = (self.loss.reconstruction_weight, at_level(self.loss.negative_weight, batch.level.index))
        passed = losses.exponential_elbo(errors, divergences, self.scale, *weights)
        terms["exp_reconstruction"], terms["exp_sample"] = passed.chunk(2)
        terms["kl_reconstruction"], terms["kl_sample"] = divergences.chunk(2)
        return terms

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        networks = self.networks
        code = self.mapped(networks, self._handed_z(batch))
        # L_G = s (b_rec L_r(x) + b_kl/2 sum_(f in {r, p}) KL(x_f) + gamma_r b_rec mean_f L_r(x_f))
        # (Soft-IntroVAE; official soft_intro_vae/train_soft_intro_vae.py)
        if self._warming(batch.level):
            return {"reconstruction": self._error(self.decode(networks, code, batch), batch.images[0], batch)}
        fakes = self.decode(networks, self._joined(batch, code, self._prior(batch)), batch)
        of_fakes = self.encode(networks, fakes, batch)
        terms = {"reconstruction": self._error(fakes.chunk(2)[0], batch.images[0], batch)}
        terms["kl_reconstruction"], terms["kl_sample"] = of_fakes.kl().chunk(2)
        if self.loss.fake_reconstruction_weight > 0:
            z = self._redrawn(of_fakes, batch).detach()
            again = self.decode(networks, self.mapped(networks, z), batch)
            # L_r(x_f) = ||sg[x_f] - G(sg[z_f])||^2
            terms["fake_reconstruction"] = torch.stack(self._error(again, fakes.detach(), batch).chunk(2)).mean(0)
        return terms

    def _redrawn(self, of_fakes: Posterior, batch: Batch) -> Tensor:
        """Samples z_f [2n, D] from the posteriors of reconstructions and prior samples."""
        names = ("posterior of reconstruction", "posterior of sample")
        return of_fakes.sample(torch.cat([batch.noise(name, self.latent) for name in names]))

    def _encoder_weights(self, level: Level) -> dict[str, float]:
        weights = {
            "reconstruction": self.scale * self.loss.reconstruction_weight,
            "kl_real": self.scale * self.loss.kl_weight,
        }
        if self._warming(level):
            return weights
        return weights | {"exp_reconstruction": 0.25, "exp_sample": 0.25, "kl_reconstruction": 0.0, "kl_sample": 0.0}

    def _generator_weights(self, level: Level) -> dict[str, float]:
        error = self.scale * self.loss.reconstruction_weight
        weights = {"reconstruction": error}
        if not self._warming(level):
            divergence = 0.5 * self.scale * self.loss.kl_weight
            weights |= {"kl_reconstruction": divergence, "kl_sample": divergence}
            if self.loss.fake_reconstruction_weight > 0:
                weights["fake_reconstruction"] = error * self.loss.fake_reconstruction_weight
        return weights
