"""Style-Soft-IntroVAE (Daniel and Tamar, CVPR 2021, section 5): Soft-IntroVAE with StyleALAE's networks, which grow.

The encoder's style gives a posterior. Samples z of it and of the prior pass through the mapping F to the generator.

Deviations from the official code: the posterior's last layer is not activated; the error of a coarse level is scaled to the
pixels of the finest (there a 4x4 image weighs 1/4096 of a 256x256 one), so weights keep their meaning; pixels are in [0, 1],
so the reconstruction weight is four times as large here. For those of the losses see soft_intro_vae.py.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import latents
from alae_core.alarms import Alarm
from alae_core.alarms import introspection as health
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling, Terms
from alae_core.algorithms.introspection import Posterior, of_iteration
from alae_core.algorithms.soft_intro_vae import LossConfig, SoftIntroVAE
from alae_core.algorithms.style_synthesis import Styled, StyleSynthesis, layers_of
from alae_core.networks.mapping import Mapping
from alae_core.networks.posterior import StylePosterior
from alae_core.networks.style_encoder import StyleEncoder
from alae_core.networks.style_generator import StyleGenerator


@dataclass(frozen=True, kw_only=True)
class Config:
    """Style-Soft-IntroVAE up to `resolution`, with `base_channels` there and at most `max_channels` at the coarse levels."""

    kind: Literal["style_soft_intro_vae"] = "style_soft_intro_vae"
    resolution: int = 256
    """Side of the generated images in pixels."""
    channels: int = 3
    """Channels of the images: 1 is grayscale, 3 is colour."""
    latent: int = 512
    """Length of the code z and of a style."""
    base_channels: int = 64
    """Feature channels at the full resolution; they double with every halving, up to max_channels."""
    max_channels: int = 512
    """Most feature channels of a layer, at the coarse levels."""
    mapping_layers: int = 8
    """Dense layers of the mapping network from z to a style."""
    mapping_lr_multiplier: float = 0.1
    """Factor of the learning rate in the layers of the mapping and of the posterior."""
    rgb_gain: float = 0.03
    """Factor on the weights of the layers that turn features into colours."""
    mixing_probability: float = 0.9
    """Probability that a prior sample mixes two codes in training; reconstructions are never mixed."""
    w_mean_decay: float = 0.995
    """Decay of the running mean of w per iteration."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses, and the length of the warm-up."""

    charts = health.SOFT_CHARTS

    def alarms(self) -> tuple[Alarm, ...]:
        return health.soft_alarms(self.latent, self.loss.warmup_kimg)

    def search_space(self) -> tuple[str, ...]:
        return health.SOFT_SPACE

    def build(self) -> "StyleSoftIntroVAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        size = (self.resolution, self.channels, self.latent, self.base_channels, self.max_channels)
        networks = {
            "encoder": StyleEncoder(*size),
            "posterior": StylePosterior(self.latent, self.mapping_lr_multiplier),
            "mapping": Mapping(self.latent, self.mapping_layers, self.mapping_lr_multiplier),
            "generator": StyleGenerator(*size, rgb_gain=self.rgb_gain),
        }
        return StyleSoftIntroVAE(networks, self)


class StyleSoftIntroVAE(Styled, SoftIntroVAE):
    """Soft-IntroVAE whose codes are styles: [n, D], one for all layers, or [n, layers, D]."""

    encoders: tuple[str, ...] = ("encoder", "posterior")
    averaged: tuple[str, ...] = ("encoder", "posterior", "mapping", "generator")

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        super().__init__(networks, config.latent, config.resolution, config.channels, config.loss)
        self.w_mean_decay = config.w_mean_decay
        self.synthesis = StyleSynthesis(latent=config.latent, mixing_probability=config.mixing_probability)

    def observe(self, batch: Batch, terms: Terms) -> None:
        mapping: Mapping = self.networks["mapping"]  # type: ignore[assignment]
        mapping.follow_mean(batch.noise("z", self.latent), self.w_mean_decay)

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        styles = self.synthesis.sampled_styles(networks, batch, sampling)
        return self.synthesis.decode(networks, styles, batch, sampling)

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Destinations with the coarse half of the layers from each source, source by source."""
        coarse, fine = self.embed(networks, sources), self.embed(networks, destinations)
        return self.synthesis.crossed(networks, coarse, fine, destinations)

    def encode(self, networks: Networks, images: Tensor, batch: Batch) -> Posterior:
        style = networks["encoder"](images, batch.level.depth, batch.level.blend)
        return Posterior(*networks["posterior"](style))

    def decode(self, networks: Networks, codes: Tensor, batch: Batch, sampling: Sampling | None = None) -> Tensor:
        """Images [m, C, R, R] of codes; m is a multiple of the batch's n, and each image has its own noise.

        With `sampling` m is n.
        """
        if sampling is not None:
            return super().decode(networks, codes, batch, sampling)
        styles = self._styles(codes, batch)
        parts = len(styles) // batch.size

        def noise(name: str, *shape: int) -> Tensor:
            return torch.cat([batch.noise(f"{name} of part {part}", *shape) for part in range(parts)])

        image: Tensor = networks["generator"](styles, noise, batch.level.depth, batch.level.blend)
        return image

    def _joined(self, batch: Batch, *codes: Tensor) -> Tensor:
        return torch.cat([self._styles(each, batch) for each in codes])

    def _prior(self, batch: Batch) -> Tensor:
        """Styles [n, layers, D] of prior samples, randomly mixed, the same in all updates of an iteration."""
        return self.synthesis.training_styles(self.networks, of_iteration(batch))

    def _styles(self, codes: Tensor, batch: Batch) -> Tensor:
        return latents.broadcast_styles(codes, layers_of(batch)) if codes.ndim == 2 else codes
