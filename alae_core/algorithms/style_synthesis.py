"""Synthesis of images from codes in W, level by level, for StyleALAE and StyleGAN (StyleGAN, sections 2, 3 and B)."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from alae_core import latents
from alae_core.algorithm import Batch, Networks, Sampling
from alae_core.layers import pixel_norm
from alae_core.networks.mapping import Mapping
from alae_core.networks.style_generator import Noise
from alae_core.schedule import Level

TRUNCATED_LEVELS = 4
"""Number of levels, from 4x4 to 32x32, to which a single psi applies, as in StyleGAN's figures."""


@dataclass(frozen=True, kw_only=True)
class StyleSynthesis:
    """Draws styles and decodes them with the networks "mapping" and "generator".

    Without a "mapping" the code is the normalised z, and its mean is 0.
    """

    latent: int
    mixing_probability: float
    """Probability that an image mixes two codes in training; `Sampling` has its own."""
    mixing_cut: Literal["image", "batch"] = "image"
    """"batch": one coin and one cut for the whole batch, the last layer included, as the official ALAE's."""
    first_noise: Literal["image", "batch"] = "image"
    """"batch": the first noise map is one for the whole batch, as the official ALAE's."""

    def mapped(self, networks: Networks, z: Tensor) -> Tensor:
        """Codes [n, D] of z [n, D]."""
        code: Tensor = _mapping(networks)(z) if "mapping" in networks else pixel_norm(z)
        return code

    def training_styles(self, networks: Networks, batch: Batch) -> Tensor:
        """Styles [n, layers, D] for training, randomly mixed."""
        return self._mixed(networks, batch, self.mixing_probability)

    def sampled_styles(self, networks: Networks, batch: Batch, sampling: Sampling) -> Tensor:
        """Styles [n, layers, D], mixed and truncated by the options of `sampling`."""
        styles = self._mixed(networks, batch, sampling.mixing_probability)
        mean = _mapping(networks).w_mean if "mapping" in networks else styles.new_zeros(self.latent)
        return latents.truncate(styles, mean, layer_psi(sampling.truncation, layers_of(batch)))

    def decode(self, networks: Networks, styles: Tensor, batch: Batch, sampling: Sampling | None = None) -> Tensor:
        """Styles [n, layers, D] -> images [n, C, R, R]; without `sampling` the noise is that of training."""
        noise = self._training_noise(batch) if sampling is None else partial(_sampled_noise, batch, sampling)
        image: Tensor = networks["generator"](styles, noise, batch.level.depth, batch.level.blend)
        return image

    def crossed(self, networks: Networks, sources: Tensor, codes: Tensor, batch: Batch) -> Tensor | None:
        """Images [s * n, C, R, R] of the batch's codes [n, D] with the coarse half of the layers from sources [s, D].

        They are ordered by source. None if there are too few layers to halve.
        """
        layers = layers_of(batch)
        if layers < 4:
            return None
        coarse, fine = sources.repeat_interleave(batch.size, 0), codes.repeat(len(sources), 1)
        cut = coarse.new_full((len(coarse),), layers // 2)
        styles = latents.mix_styles(coarse, fine, cut, layers)
        return torch.cat([self.decode(networks, part, batch) for part in styles.split(batch.size)])

    def _mixed(self, networks: Networks, batch: Batch, probability: float) -> Tensor:
        layers = layers_of(batch)
        coarse = self.mapped(networks, batch.noise("z", self.latent))
        if probability == 0:
            return latents.broadcast_styles(coarse, layers)
        whole_batch = self.mixing_cut == "batch"
        coin, position = batch.uniform("mixing", 2, shared=whole_batch).unbind(1)
        cut = latents.random_cuts(coin, position, probability, layers, with_last=whole_batch)
        return latents.mix_styles(coarse, self.mapped(networks, batch.noise("z_mixed", self.latent)), cut, layers)

    def _training_noise(self, batch: Batch) -> Noise:
        if self.first_noise == "image":
            return batch.noise
        return lambda name, *shape: batch.noise(name, *shape, shared=name == "layer0")


class Styled:
    """`capabilities.Styles` of an algorithm with a `StyleSynthesis`."""

    synthesis: StyleSynthesis

    def mapped(self, networks: Networks, z: Tensor) -> Tensor:
        """w [n, D] of z [n, D]."""
        return self.synthesis.mapped(networks, z)

    def decode(self, networks: Networks, codes: Tensor, batch: Batch, sampling: Sampling | None = None) -> Tensor:
        """Images [n, C, R, R] of codes [n, D], one for all layers, or of styles [n, layers, D]."""
        styles = latents.broadcast_styles(codes, layers_of(batch)) if codes.ndim == 2 else codes
        return self.synthesis.decode(networks, styles, batch, sampling)

    def style_layers(self, level: Level) -> int:
        """Two per block."""
        return layers_at(level)


def _mapping(networks: Networks) -> Mapping:
    return networks["mapping"]  # type: ignore[return-value]


def layers_of(batch: Batch) -> int:
    """Styles that the batch's level uses: two per block."""
    return layers_at(batch.level)


def layers_at(level: Level) -> int:
    """Styles that the level uses."""
    return 2 * (level.depth + 1)


def layer_psi(truncation: float | tuple[float, ...], layers: int) -> tuple[float, ...]:
    """psi of each layer: a single value applies to the first four levels, a tuple has one value per level; 1 beyond."""
    levels = truncation if isinstance(truncation, tuple) else (truncation,) * TRUNCATED_LEVELS
    by_layer = tuple(psi for psi in levels for _ in range(2))
    return (by_layer + (1.0,) * layers)[:layers]


def _sampled_noise(batch: Batch, sampling: Sampling, name: str, *shape: int) -> Tensor:
    first, stop = sampling.noise_layers or (0, layers_of(batch))
    if sampling.noise == "none" or not first <= int(name.removeprefix("layer")) < stop:
        return torch.zeros(batch.size, *shape, device=batch.device)
    return batch.noise(name, *shape, shared=sampling.noise == "shared")
