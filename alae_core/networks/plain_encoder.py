"""Encoder without styles for ALAE's ablation: StyleGAN's discriminator with a code in place of its logit."""

from alae_core.layers import EqualLinear
from alae_core.networks.style_discriminator import StyleDiscriminator


class PlainEncoder(StyleDiscriminator):
    """Encoder E: image [N, C, R, R] -> w [N, D], without style statistics, norms or the minibatch deviation."""

    def __init__(self, resolution: int, channels: int, latent: int, base_channels: int, max_channels: int) -> None:
        super().__init__(resolution, channels, base_channels, max_channels, stddev_group=1)
        hidden = self.last.dense.weight.shape[0]
        self.last.output = EqualLinear(hidden, latent, gain=1.0)
