"""StyleGAN (Karras et al., CVPR 2019) and the configurations from ProGAN (Karras et al., ICLR 2018) to it (table 1).

Deviations from the official code: each image draws its own mixing cut (there one per GPU and batch); groups of the minibatch
deviation are consecutive images; averages are updated after the generator; a gradient that is not finite stops the run (there
the step is skipped); there are no labels.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling, SamplingError, Terms, Update
from alae_core.algorithms.logistic_game import LogisticGame, check_r1_every
from alae_core.algorithms.style_synthesis import Styled, StyleSynthesis
from alae_core.convolution import penalised
from alae_core.networks.mapping import Mapping
from alae_core.networks.style_discriminator import StyleDiscriminator
from alae_core.networks.style_generator import Form, StyleGenerator


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Adversarial loss and gradient penalty: logistic loss with R1, or WGAN-GP."""

    adversarial: Literal["logistic", "wgan_gp"] = "logistic"
    """The adversarial loss: non-saturating logistic with R1, or Wasserstein with a gradient penalty."""
    r1_gamma: float = 10.0
    """gamma of the gradient penalty R1 of the logistic loss: gamma / 2 times the squared gradient norm of real images."""
    r1_every: int = 1
    """Interval of R1 in iterations: 1 makes it a term of the discriminator update, k > 1 a separate, lazy update."""
    wgan_lambda: float = 10.0
    """Weight of WGAN-GP's gradient penalty."""
    wgan_target: float = 1.0
    """Gradient norm that WGAN-GP's penalty pulls to."""
    wgan_drift: float = 0.001
    """Weight of WGAN-GP's drift term."""
    w_mean_decay: float = 0.995
    """Decay of the running mean of w per iteration, in [0, 1); truncation uses this mean."""

    def __post_init__(self) -> None:
        check_r1_every(self.r1_every)
        if self.adversarial == "wgan_gp" and self.r1_every > 1:
            raise ValueError(
                f"algorithm.loss.r1_every={self.r1_every}: WGAN-GP has no R1; give 1, or logistic as the loss"
            )
        if self.wgan_target <= 0:
            raise ValueError(f"algorithm.loss.wgan_target={self.wgan_target}; give a norm above 0, such as 1")


@dataclass(frozen=True, kw_only=True)
class Config:
    """StyleGAN up to `resolution`, with `base_channels` there and at most `max_channels` at the coarse levels."""

    kind: Literal["stylegan"] = "stylegan"
    resolution: int = 1024
    """Side of the generated images in pixels."""
    channels: int = 3
    """Channels of the images: 1 is grayscale, 3 is colour."""
    latent: int = 512
    """Length of the codes z and w."""
    base_channels: int = 16
    """Feature channels at the full resolution; they double with every halving, up to max_channels."""
    max_channels: int = 512
    """Most feature channels of a layer, at the coarse levels."""
    mapping_layers: int = 8
    """Layers of the mapping; 0: none, so codes are normalised z."""
    mapping_lr_multiplier: float = 0.01
    """Learning rate of the mapping network relative to the others."""
    rgb_gain: float = 1.0
    """Factor on the weights of the layers that turn features into colours."""
    mixing_probability: float = 0.9
    """Probability that an image is made of two codes, which meet at a random layer."""
    form: Form = field(default_factory=Form)
    """Parts of the generator; `blur` applies to the discriminator too."""
    stddev_group: int = 4
    """Consecutive images in a group of the discriminator's minibatch deviation; 1: no deviation."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The adversarial loss and its regularisation."""

    grouped_by = "stddev_group"

    @property
    def together(self) -> int:
        """Images in a row that training keeps together."""
        return self.stddev_group

    def search_space(self) -> tuple[str, ...]:
        """The weight of the gradient penalty: what fits grows with the pixels (10 at 1024 px, 1 at 32 px)."""
        if self.loss.adversarial == "wgan_gp":
            return ("algorithm.loss.wgan_lambda=loguniform(1, 100)",)
        low, high = (0.1, 10) if self.resolution <= 128 else (1, 100)
        return (f"algorithm.loss.r1_gamma=loguniform({low}, {high})",)

    def __post_init__(self) -> None:
        if self.stddev_group < 1:
            raise ValueError(f"algorithm.stddev_group={self.stddev_group}; give 1 (no deviation) or more, such as 4")
        if self.mixing_probability and not self.form.styles:
            raise ValueError(
                f"algorithm.mixing_probability={self.mixing_probability} needs styles to mix, and algorithm.form.styles="
                "false; set algorithm.mixing_probability=0"
            )

    def build(self) -> "StyleGAN":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        size = (self.resolution, self.channels)
        width = (self.base_channels, self.max_channels)
        networks: dict[str, nn.Module] = {}
        if self.mapping_layers:
            networks["mapping"] = Mapping(self.latent, self.mapping_layers, self.mapping_lr_multiplier)
        networks["generator"] = StyleGenerator(*size, self.latent, *width, rgb_gain=self.rgb_gain, form=self.form)
        networks["discriminator"] = StyleDiscriminator(
            *size, *width, blur=self.form.blur, stddev_group=self.stddev_group
        )
        return StyleGAN(networks, self)


class StyleGAN(Styled, LogisticGame):
    """The two updates of one iteration, or three where R1 is lazy."""

    loss: LossConfig
    domains = 1
    observed: tuple[str, ...] = ()

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        self.networks = networks
        self.form = config.form
        self.loss = config.loss
        self.latent = config.latent
        self.together = config.together
        self.averaged: tuple[str, ...] = tuple(role for role in networks if role != "discriminator")
        self.synthesis = StyleSynthesis(latent=config.latent, mixing_probability=config.mixing_probability)

    def updates(self, nimg: int) -> tuple[Update, ...]:
        generator = Update(name="generator", trains=self.averaged, loss=self._generator)
        critics = ("discriminator",)
        if self.loss.adversarial == "logistic":
            return *self._critic_updates(critics), generator
        weights = {"gradient": self.loss.wgan_lambda, "drift": self.loss.wgan_drift}
        critic = Update(name="discriminator", trains=critics, loss=self._critic, weights=weights, amp=False)
        return critic, generator

    def observe(self, batch: Batch, terms: Terms) -> None:
        if "mapping" in self.networks:
            mapping: Mapping = self.networks["mapping"]  # type: ignore[assignment]
            mapping.follow_mean(batch.noise("w_mean", self.latent), self.loss.w_mean_decay)

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Generate images [n, C, R, R]; raises SamplingError for options of parts that the form lacks."""
        _refuse_what_is_missing(self.form, sampling)
        styles = self.synthesis.sampled_styles(networks, batch, sampling)
        return self.synthesis.decode(networks, styles, batch, sampling)

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor | None:
        return None

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """None, because real images cannot be mixed without an encoder."""
        return None

    # Losses of WGAN-GP (ProGAN, appendix A.1) and of the generator (StyleGAN, section 2 and appendix C).

    def _critic(self, batch: Batch) -> dict[str, Tensor]:
        real, fake = batch.images[0], self._frozen_fake(batch)
        between = torch.lerp(real, fake, batch.uniform("between", 1, 1, 1)).requires_grad_()
        values = self._score(real, batch)
        with penalised():
            between_values = self._score(between, batch)
        return {
            # D(sg[G(z)]) (WGAN-GP; NVlabs/stylegan training/loss.py, D_wgan_gp, for all terms)
            "fake": losses.critic_fake(self._score(fake, batch)),
            # -D(x)
            "real": losses.critic_real(values),
            # lambda (||grad D(x^)||_2 - target)^2 / target^2, x^ = x + u (G(z) - x), u uniform in [0, 1)
            "gradient": losses.gradient_penalty(between_values, between, self.loss.wgan_target),
            # eps_drift D(x)^2 (ProGAN, appendix A.1)
            "drift": losses.drift(values),
        }

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        # logistic: softplus(-D(G(z))), non-saturating (Goodfellow et al. 2014, section 3); WGAN-GP: -D(G(z))
        real_loss = losses.critic_real if self.loss.adversarial == "wgan_gp" else losses.logistic_real
        return {"fake": real_loss(self._score(self._fake(batch), batch))}

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        return self.networks["discriminator"](images, batch.level.depth, batch.level.blend)

    def _fake(self, batch: Batch) -> Tensor:
        return self.synthesis.decode(self.networks, self.synthesis.training_styles(self.networks, batch), batch)


def _refuse_what_is_missing(form: Form, sampling: Sampling) -> None:
    needs = {"truncation": "styles", "mixing_probability": "styles", "noise": "noise", "noise_layers": "noise"}
    for option, part in needs.items():
        asked = getattr(sampling, option)
        if asked != getattr(PLAIN_SAMPLING, option) and not getattr(form, part):
            raise SamplingError(f"{option}={asked} cannot be followed: algorithm.form.{part}=false; leave {option} out")
