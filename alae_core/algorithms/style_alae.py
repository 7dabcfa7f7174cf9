"""StyleALAE (Pidhorskyi et al., CVPR 2020, section 4.1): ALAE with StyleGAN's generator and a style encoder, which grow.

The fields of `OfficialCode` are the deviations from the official code, and restore its behaviour. `encoder`, `discriminator`
and `reciprocity` select the ablations of its branches. All options and deviations: docs/alae.md.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn

from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling
from alae_core.algorithms.alae import ALAE, LATENT_SPACE, LossConfig
from alae_core.algorithms.style_synthesis import Styled, StyleSynthesis
from alae_core.capabilities import Form
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.plain_encoder import PlainEncoder
from alae_core.networks.style_discriminator import StyleDiscriminator
from alae_core.networks.style_encoder import StyleEncoder
from alae_core.networks.style_generator import StyleGenerator

STDDEV_GROUP = 4
"""Consecutive images in a group of the image discriminator's minibatch deviation."""


@dataclass(frozen=True, kw_only=True)
class OfficialCode:
    """Details of the official code that are neither in the paper nor in StyleGAN; the defaults avoid them."""

    mixing_cut: Literal["image", "batch"] = "image"
    """Draw the mixing cut per image, or once per batch with the last layer included, as in the official code."""
    first_noise: Literal["image", "batch"] = "image"
    """Draw the training noise of the first 4x4 layer per image, or once per batch, as in the official code."""
    from_rgb_activations: Literal[1, 2] = 1
    """Leaky ReLUs after the encoder's fromRGB; two, as in the official code, have a negative slope of 0.04."""
    deviation_eps: float = 1e-8
    """Epsilon under the root of the encoder's deviations; 0 in the official code, so constant channels give NaN gradients."""
    encoder_norm_eps: float = 1e-8
    """Epsilon of the encoder's instance norm; 1e-5 in the official code."""
    dead_discriminator_outputs: bool = False
    """D has 2 * latent outputs and reads one of them."""


OFFICIAL = OfficialCode(
    mixing_cut="batch",
    first_noise="batch",
    from_rgb_activations=2,
    deviation_eps=0.0,
    encoder_norm_eps=1e-5,
    dead_discriminator_outputs=True,
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """StyleALAE up to `resolution`, with `base_channels` there and at most `max_channels` at the coarse levels."""

    kind: Literal["style_alae"] = "style_alae"
    resolution: int = 32
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
    """Dense layers of the mapping network from z to w."""
    mapping_lr_multiplier: float = 0.1
    """Learning rate of the mapping network and the code discriminator relative to the others."""
    rgb_gain: float = 0.03
    """Factor on the weights of the layers that turn features into colours."""
    mixing_probability: float = 0.9
    """Probability that an image is made of two codes, which meet at a random layer."""
    encoder: Literal["style", "plain"] = "style"
    """Style encoder, or "plain": convolutions without statistics or norms (ablation "no style encoder")."""
    discriminator: Literal["code", "image"] = "code"
    """Linear discriminator of codes, or "image": StyleGAN's; the encoder then has only reciprocity (ablation "separate")."""
    reciprocity: Literal["w", "z"] = "w"
    """Output of the encoder: the code w, or z, from which F computes w (ablation "regression in Z")."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses, and how the updates share their state."""
    official: OfficialCode = field(default_factory=OfficialCode)
    """Habits of the official code; `<preset>_compat` takes them all."""

    grouped_by = "discriminator"

    @property
    def together(self) -> int:
        """Images in a row that training keeps together."""
        return STDDEV_GROUP if self.discriminator == "image" else 1

    def search_space(self) -> tuple[str, ...]:
        return LATENT_SPACE

    def official_form(self) -> Form:
        """All habits of the official code, in training and in the distances."""
        # The official code follows the mean style in each of the three updates, by 0.995.
        loss = LossConfig(w_mean_decay=0.995**3)
        return Form(
            replace(self, official=OFFICIAL, rgb_gain=0.03, mixing_probability=0.9, loss=loss),
            {
                "schedule": {"fade": "cosine", "clear_moments": "level"},
                "training": {"averages_from": "other weights"},
                "evaluation": {"mixing_probability": 0.9, "rounding": "official"},
            },
        )

    def build(self) -> "StyleALAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        size = (self.resolution, self.channels, self.latent, self.base_channels, self.max_channels)
        networks = {
            "mapping": Mapping(self.latent, self.mapping_layers, self.mapping_lr_multiplier),
            "generator": StyleGenerator(*size, rgb_gain=self.rgb_gain),
            "encoder": self._encoder(*size),
            "discriminator": self._discriminator(),
        }
        return StyleALAE(networks, self)

    def _encoder(self, *size: int) -> nn.Module:
        if self.encoder == "plain":
            return PlainEncoder(*size)
        return StyleEncoder(
            *size,
            deviation_eps=self.official.deviation_eps,
            norm_eps=self.official.encoder_norm_eps,
            activations=self.official.from_rgb_activations,
        )

    def _discriminator(self) -> nn.Module:
        if self.discriminator == "code":
            dead_outputs = self.official.dead_discriminator_outputs
            return LinearDiscriminator(self.latent, self.mapping_lr_multiplier, dead_outputs)
        size = (self.resolution, self.channels, self.base_channels, self.max_channels)
        return StyleDiscriminator(*size, stddev_group=STDDEV_GROUP)


class StyleALAE(Styled, ALAE):
    """ALAE whose codes are styles, one per layer."""

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        super().__init__(networks, config.latent, config.loss)
        self.config = config
        self.synthesis = StyleSynthesis(
            latent=config.latent,
            mixing_probability=config.mixing_probability,
            mixing_cut=config.official.mixing_cut,
            first_noise=config.official.first_noise,
        )
        if config.discriminator == "image":
            self.critics, self.together = ("discriminator",), config.together

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        styles = self.synthesis.sampled_styles(networks, batch, sampling)
        return self.synthesis.decode(networks, styles, batch, sampling)

    def embed(self, networks: Networks, batch: Batch) -> Tensor:
        code = super().embed(networks, batch)
        return networks["mapping"](code) if self.config.reciprocity == "z" else code

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Destinations with the coarse half of the layers from each source, source by source."""
        coarse, fine = self.embed(networks, sources), self.embed(networks, destinations)
        return self.synthesis.crossed(networks, coarse, fine, destinations)

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        if self.config.discriminator == "code":
            return super()._score(images, batch)
        return self.networks["discriminator"](images, batch.level.depth, batch.level.blend)

    def _target(self, z: Tensor, w: Tensor) -> Tensor:
        return z if self.config.reciprocity == "z" else super()._target(z, w)

    def _fake(self, batch: Batch) -> Tensor:
        styles = self.synthesis.training_styles(self.networks, batch)
        return self.synthesis.decode(self.networks, styles, batch)

    def _encode(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        return networks["encoder"](images, batch.level.depth, batch.level.blend)
