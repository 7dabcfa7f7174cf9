"""StyleALAE (Pidhorskyi et al., CVPR 2020, section 4.1): ALAE with StyleGAN's generator and a style encoder, grown.

Deviation from the official code: each image draws its own mixing cut (there one cut serves a whole rank's batch), so that
training does not depend on how a batch is split over ranks; the cut never leaves all layers to the first code.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import latents
from alae_core.algorithm import Batch, Networks
from alae_core.algorithms.alae import ALAE, LossConfig
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.style_encoder import StyleEncoder
from alae_core.networks.style_generator import StyleGenerator

TRUNCATED_LAYERS = 8
"""The layers of 4x4 to 32x32, as in StyleGAN's figures."""


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
        self.mixing_probability = config.mixing_probability

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Destinations with the coarse half of the layers from each source, source by source."""
        layers = _layers(destinations)
        if layers < 4:
            return None
        coarse = self._encode(networks, sources.images[0], sources).repeat_interleave(destinations.size, 0)
        fine = self._encode(networks, destinations.images[0], destinations).repeat(sources.size, 1)
        cut = coarse.new_full((len(coarse),), layers // 2)
        styles = latents.mix_styles(coarse, fine, cut, layers)
        return torch.cat([self._decode(networks, part, destinations) for part in styles.split(destinations.size)])

    def _fake(self, batch: Batch) -> Tensor:
        layers = _layers(batch)
        coin, position = batch.uniform("mixing", 2).unbind(1)
        cut = latents.random_cuts(coin, position, self.mixing_probability, layers)
        mapping = self.networks["mapping"]
        coarse, fine = mapping(batch.noise("z", self.latent)), mapping(batch.noise("z_mixed", self.latent))
        return self._decode(self.networks, latents.mix_styles(coarse, fine, cut, layers), batch)

    def _styles(self, w: Tensor, batch: Batch) -> Tensor:
        return latents.broadcast_styles(w, _layers(batch))

    def _truncated(self, styles: Tensor, mean: Tensor, truncation: float) -> Tensor:
        return latents.truncate(styles, mean, truncation, TRUNCATED_LAYERS)

    def _decode(self, networks: Networks, styles: Tensor, batch: Batch) -> Tensor:
        level = batch.level
        return networks["generator"](styles, batch.noise, level.index, level.blend)

    def _encode(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        return networks["encoder"](images, batch.level.index, batch.level.blend)


def _layers(batch: Batch) -> int:
    return 2 * (batch.level.index + 1)
