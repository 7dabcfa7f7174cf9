"""IntroVAE (Huang et al., NeurIPS 2018): the encoder raises the KL of fakes to a margin, the generator lowers it, and both
reconstruct.

Two separate steps give the same result as the official code's single graph, which current torch refuses. Losses are those of
the code: no 1/2 in the squared error, a hinge on the mean over images, and a generator weight of 0.5. Symbols:
docs/introvae.md.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.alarms import Alarm
from alae_core.alarms import introspection as health
from alae_core.algorithm import Batch, Terms, Update
from alae_core.algorithms.introspection import Introspection, ResidualConfig, check_weights
from alae_core.networks.intro_vae import Margin
from alae_core.schedule import Level, at_level

_MEASURED = ("kl_reconstruction", "kl_sample", "active_reconstruction", "active_sample")
"""Terms of fakes that are logged and weigh nothing."""
MARGIN, RATIO, WEIGHT = (f"algorithm.loss.{name}" for name in ("margin", "margin_ratio", "reconstruction_weight"))
LEAST_RATIO = 1.05
"""Smallest ratio of the margin to the real KL at which a plain VAE with the same weights settles."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the squared error per image (pixels in [0, 1]) and of the KL in nats; tuples have a value per level."""

    reconstruction_weight: float = 0.05
    """Weight of the squared error of reconstructions, summed over an image. Larger values give sharper images and a larger KL."""
    kl_weight: float = 1.0
    """Weight of the divergence of real images from the prior."""
    negative_weight: float = 0.5
    """Weight of the encoder's hinges, multiplied by 0.5 kl_weight; the default gives the paper's alpha of 0.25."""
    generator_weight: float = 0.5
    """Weight of the generator's KL terms, multiplied by kl_weight; 0.5 in the official code, 0.25 in the paper."""
    margin: tuple[float, ...] | None = None
    """Margin m in nats up to which the encoder raises the KL of fakes; None: `margin_ratio` times the warm-up's real KL."""
    margin_ratio: float = 1.4
    """Margin relative to the KL of reals at the end of the warm-up, above 1; used if `margin` is None."""
    warmup_kimg: tuple[float, ...] = (50.0,)
    """Images, in thousands, for which each level first trains as a plain VAE."""
    warmup_official_weights: bool = False
    """Use 1 for both weights of the VAE in the warm-up, as in the official code."""

    def __post_init__(self) -> None:
        check_weights(self, "warmup_kimg")
        if self.margin is not None:
            check_weights(self, "margin")
        if self.margin_ratio <= 1:
            raise ValueError(
                f"algorithm.loss.margin_ratio={self.margin_ratio} puts the margin below the divergence of reals, which the "
                "encoder could then not keep under it; give more than 1, such as 1.4"
            )
        if self.margin is None and self.introspects and self.warmup_kimg[0] == 0:
            raise ValueError(
                "algorithm.loss.margin is measured in the first level's warm-up, and algorithm.loss.warmup_kimg has none; "
                "give a warm-up, such as 50, or a margin in nats, such as 120"
            )

    @property
    def introspects(self) -> bool:
        """Whether fakes are used at all; if both their weights are 0, training is that of a plain VAE."""
        return self.negative_weight > 0 or self.generator_weight > 0


@dataclass(frozen=True, kw_only=True)
class Config(ResidualConfig):
    """IntroVAE on residual networks; the hinge acts on the mean KL of `group` consecutive images."""

    kind: Literal["intro_vae"] = "intro_vae"
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses, the margin, and the length of the warm-up."""

    charts = health.HINGE_CHARTS

    def alarms(self) -> tuple[Alarm, ...]:
        if not self.loss.introspects:
            return health.vae_alarms(self.latent)
        return health.hinge_alarms(self.latent, self.loss.warmup_kimg)

    def search_space(self) -> tuple[str, ...]:
        """The weight that the margin follows; or a margin that is given, from its value up."""
        if self.loss.margin is None:
            return health.hinge_space(self.resolution)
        return (f"{MARGIN}=uniform({max(self.loss.margin):g}, {1.5 * max(self.loss.margin):g})",)

    def search_problem(self, paths: Collection[str]) -> str | None:
        """The divergence of reals, and with it the margin that fits, grow with the reconstruction weight."""
        given = self.loss.margin is not None
        if MARGIN in paths and WEIGHT in paths:
            return f"{MARGIN} and {WEIGHT} cannot be searched independently; search {RATIO} in place of the margin"
        if MARGIN in paths and RATIO in paths:
            return f"{RATIO} has no effect where {MARGIN} is given; search one of the two"
        if given and WEIGHT in paths:
            return (
                f"{MARGIN} is fixed and would not follow {WEIGHT}; set {MARGIN}=null, which takes {RATIO} times the "
                "real KL"
            )
        if given and RATIO in paths:
            return f"{RATIO} has no effect where {MARGIN} is given; set {MARGIN}=null"
        return None

    def trial_problem(self, start: object | None, ticks: Sequence[Mapping[str, float | None]]) -> str | None:
        """The encoder could not keep real images within the margin."""
        if self.loss.margin is None:
            ratio = self.loss.margin_ratio
            too_small = f"{RATIO}={ratio:g} leaves no room above the real KL; use {LEAST_RATIO} or more"
            return too_small if ratio < LEAST_RATIO else None
        least, margin = LEAST_RATIO * (self.plateau(start, ticks) or 0.0), min(self.loss.margin)
        if margin >= least:
            return None
        return (
            f"{MARGIN}={margin:g} is below {LEAST_RATIO} times the real KL of {least / LEAST_RATIO:.4g} that the checkpoint "
            f"of training.init_from has at this weight; use {least:.4g} or more"
        )

    def plateau(self, start: object | None, ticks: Sequence[Mapping[str, float | None]]) -> float | None:
        """The mean divergence of reals in nats over `ticks`; None where it was trained by another reconstruction weight."""
        if not isinstance(start, Config) or start.loss.reconstruction_weight != self.loss.reconstruction_weight:
            return None
        values = [value for tick in ticks if (value := tick.get(health.REAL)) is not None]
        return sum(values) / len(values) if values else None

    @property
    def together(self) -> int:
        return self.group

    def build(self) -> "IntroVAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        networks = self.networks()
        networks["encoder"].add_module("margin", Margin())
        return IntroVAE(networks, self)


class IntroVAE(Introspection):
    """IntroVAE with two updates per iteration."""

    loss: LossConfig

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        super().__init__(networks, config.latent, config.resolution)
        self.loss = config.loss
        self.together = config.together
        self.observed = ("encoder/kl_real",) if config.loss.margin is None else ()

    def updates(self, nimg: int) -> tuple[Update, ...]:
        return (
            Update(name="encoder", trains=("encoder",), loss=self._encoder, level_weights=self._encoder_weights),
            Update(
                name="generator", trains=("generator",), loss=self._generator, level_weights=self._generator_weights
            ),
        )

    def observe(self, batch: Batch, terms: Terms) -> None:
        """Update the margin from the KL of reals during warm-ups; it is constant after them."""
        if not self._warming(batch.level) or "encoder/kl_real" not in terms:
            return
        # Short relative to the warm-up, because a longer mean would lag behind a rising KL.
        half_life = 1000.0 / 16 * at_level(self.loss.warmup_kimg, batch.level.index)
        decay = 0.5 ** (batch.level.batch_size / half_life)
        self._margin.follow(terms["encoder/kl_real"], decay, self.loss.margin_ratio, anew=batch.level.seen == 0)

    @property
    def _margin(self) -> Margin:
        return self.networks["encoder"].margin  # type: ignore[return-value]

    def _encoder(self, batch: Batch) -> dict[str, Tensor]:
        real = batch.images[0]
        posterior, z = self._encoded(batch)
        reconstruction = self.decode(self.networks, self.mapped(self.networks, z), batch)
        # L_E = b_rec L_AE(x, x_r) + b_kl KL(E(x)) + 0.5 b_neg b_kl sum_(s in {r, p}) [m - mean KL(E(sg[x_s]))]+
        # (IntroVAE, eq. 11; weights as in the official main.py)
        terms = {"reconstruction": self._error(reconstruction, real, batch), "kl_real": posterior.kl()}
        if not self.loss.introspects:
            return terms
        margin = self._margin_at(batch.level)
        if self._warming(batch.level):
            return terms | {"margin": margin}
        with torch.no_grad():
            fakes = torch.cat([reconstruction, self.decode(self.networks, self._prior(batch), batch)])
        divergences = self.encode(self.networks, fakes, batch).kl().chunk(2)
        for fake, divergence in zip(("reconstruction", "sample"), divergences, strict=True):
            # The hinge acts on the mean of `group` images, so images below the margin can be balanced by others.
            mean = losses.group_means(divergence, self.together)
            # [m - mean KL(E(sg[x_s]))]+ (IntroVAE, eq. 11)
            terms[f"hinge_{fake}"] = losses.hinge_below(mean, margin)
            terms[f"kl_{fake}"] = divergence
            terms[f"active_{fake}"] = (mean < margin).to(mean.dtype)
        return terms | {"margin": margin}

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        # L_G = b_rec L_AE(x, x_r) + b_gen b_kl sum_(s in {r, p}) KL(E(x_s)) (IntroVAE, eq. 12; weights as in main.py)
        code = self.mapped(self.networks, self._handed_z(batch))
        if not self._generator_plays(batch.level):
            return {"reconstruction": self._error(self.decode(self.networks, code, batch), batch.images[0], batch)}
        fakes = self.decode(self.networks, self._joined(batch, code, self._prior(batch)), batch)
        reconstruction, sample = self.encode(self.networks, fakes, batch).kl().chunk(2)
        return {
            "reconstruction": self._error(fakes.chunk(2)[0], batch.images[0], batch),
            "kl_reconstruction": reconstruction,
            "kl_sample": sample,
        }

    def _margin_at(self, level: Level) -> Tensor:
        margin = self._margin.value
        return margin if self.loss.margin is None else torch.full_like(margin, at_level(self.loss.margin, level.index))

    def _generator_plays(self, level: Level) -> bool:
        return self.loss.generator_weight > 0 and not self._warming(level)

    def _encoder_weights(self, level: Level) -> dict[str, float]:
        loss = self.loss
        if loss.warmup_official_weights and self._warming(level):
            weights = {"reconstruction": 1.0, "kl_real": 1.0}
        else:
            weights = {"reconstruction": loss.reconstruction_weight, "kl_real": loss.kl_weight}
        if loss.introspects:
            weights["margin"] = 0.0
        if loss.introspects and not self._warming(level):
            hinge = 0.5 * loss.negative_weight * loss.kl_weight
            weights |= {"hinge_reconstruction": hinge, "hinge_sample": hinge, **dict.fromkeys(_MEASURED, 0.0)}
        return weights

    def _generator_weights(self, level: Level) -> dict[str, float]:
        loss = self.loss
        if loss.warmup_official_weights and self._warming(level):
            return {"reconstruction": 1.0}
        weights = {"reconstruction": loss.reconstruction_weight}
        if self._generator_plays(level):
            divergence = loss.generator_weight * loss.kl_weight
            weights |= {"kl_reconstruction": divergence, "kl_sample": divergence}
        return weights
