"""StyleALAE (Pidhorskyi et al., CVPR 2020, section 4.1): ALAE with StyleGAN's generator and a style encoder, grown.

Deviation from the official code: each image draws its own mixing cut (there one cut serves a whole rank's batch), so that
training does not depend on how a batch is split over ranks; the cut never leaves all layers to the first code.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import latents
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling
from alae_core.algorithms.alae import ALAE, LossConfig
from alae_core.algorithms.style_synthesis import StyleSynthesis, layers_of
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.style_encoder import StyleEncoder
from alae_core.networks.style_generator import StyleGenerator


@dataclass(frozen=True, kw_only=True)
class Config:
    """StyleALAE up to `resolution`, with `base_channels` there and at most `max_channels` at the coarse levels."""

    kind: Literal["style_alae"] = "style_alae"
    resolution: int = 32
    channels: int = 3
    latent: int = 512
    base_channels: int = 16
    max_channels: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.1
    rgb_gain: float = 0.03
    mixing_probability: float = 0.9
    loss: LossConfig = field(default_factory=LossConfig)

    def build(self) -> "StyleALAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        size = (self.resolution, self.channels, self.latent, self.base_channels, self.max_channels)
        networks = {
            "mapping": Mapping(self.latent, self.mapping_layers, self.mapping_lr_multiplier),
            "generator": StyleGenerator(*size, rgb_gain=self.rgb_gain),
            "encoder": StyleEncoder(*size),
            "discriminator": LinearDiscriminator(self.latent, self.mapping_lr_multiplier),
        }
        return StyleALAE(networks, self)


class StyleALAE(ALAE):
    """ALAE whose codes are styles, one per layer."""

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        super().__init__(networks, config.latent, config.loss)
        self.synthesis = StyleSynthesis(latent=config.latent, mixing_probability=config.mixing_probability)

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        styles = self.synthesis.sampled_styles(networks, batch, sampling)
        return self.synthesis.decode(networks, styles, batch, sampling)

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Destinations with the coarse half of the layers from each source, source by source."""
        layers = layers_of(destinations)
        if layers < 4:
            return None
        coarse = self._encode(networks, sources.images[0], sources).repeat_interleave(destinations.size, 0)
        fine = self._encode(networks, destinations.images[0], destinations).repeat(sources.size, 1)
        cut = coarse.new_full((len(coarse),), layers // 2)
        styles = latents.mix_styles(coarse, fine, cut, layers)
        parts = styles.split(destinations.size)
        return torch.cat([self.synthesis.decode(networks, part, destinations) for part in parts])

    def _fake(self, batch: Batch) -> Tensor:
        styles = self.synthesis.training_styles(self.networks, batch)
        return self.synthesis.decode(self.networks, styles, batch)

    def _decode(self, networks: Networks, w: Tensor, batch: Batch) -> Tensor:
        return self.synthesis.decode(networks, latents.broadcast_styles(w, layers_of(batch)), batch)

    def _encode(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        return networks["encoder"](images, batch.level.depth, batch.level.blend)
