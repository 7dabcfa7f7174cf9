"""ALAE (Pidhorskyi et al., CVPR 2020, section 4): a GAN split into F, G, E, D whose autoencoding happens in W.

Here with multi-layer perceptrons (section 5.1, permutation-invariant MNIST); StyleALAE derives from it.
Follows the official code where the paper is silent: the third update trains F too (its target is detached), the squared
error is a mean over dimensions, and the adversarial and the reciprocal loss share each network's second moments.
All options and what is not followed: docs/alae.md.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling, SamplingError, Terms, Update
from alae_core.algorithms.logistic_game import LogisticGame, check_r1_every
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.mlp import MLPEncoder, MLPGenerator


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the three updates."""

    r1_gamma: float = 10.0
    r1_every: int = 1
    """1: the gradient penalty is a term of every discriminator update; k > 1: an update of its own at every k-th iteration."""
    latent_reconstruction_weight: float = 1.0
    latent_reconstruction_trains_mapping: bool = True
    """The third update moves F too, as in the official code; the paper names E and G alone."""
    reciprocity_moments: Literal["shared", "own"] = "shared"
    """Second moments of the third update: one set per network for all updates, as in the official code, or its own."""
    w_mean_decay: float = 0.995
    """Share of the mean style that an iteration keeps; the official code follows it three times: 0.995 ** 3."""

    def __post_init__(self) -> None:
        check_r1_every(self.r1_every)


@dataclass(frozen=True, kw_only=True)
class Config:
    """MLP ALAE on images of one resolution."""

    kind: Literal["alae"] = "alae"
    resolution: int = 32
    channels: int = 1
    latent: int = 50
    hidden: int = 1024
    mapping_layers: int = 6
    mapping_lr_multiplier: float = 0.1
    loss: LossConfig = field(default_factory=LossConfig)

    def build(self) -> "ALAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        networks = {
            "mapping": Mapping(self.latent, self.mapping_layers, self.mapping_lr_multiplier),
            "generator": MLPGenerator(self.latent, self.hidden, self.resolution, self.channels),
            "encoder": MLPEncoder(self.latent, self.hidden, self.resolution, self.channels),
            "discriminator": LinearDiscriminator(self.latent, self.mapping_lr_multiplier),
        }
        return ALAE(networks, self.latent, self.loss)


class ALAE(LogisticGame):
    """The three updates of one iteration; `_fake`, `_decode` and `_encode` say what W means to the networks."""

    loss: LossConfig
    domains = 1
    together = 1
    observed: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ("mapping", "generator", "encoder")
    critics: tuple[str, ...] = ("encoder", "discriminator")
    """The networks that play against F and G."""

    def __init__(self, networks: dict[str, nn.Module], latent: int, loss: LossConfig) -> None:
        self.networks = networks
        self.latent = latent
        self.loss = loss

    def updates(self, nimg: int) -> tuple[Update, ...]:
        generator = Update(name="generator", trains=("mapping", "generator"), loss=self._generator)
        mapping = ("mapping",) if self.loss.latent_reconstruction_trains_mapping else ()
        reciprocity = Update(
            name="reciprocity",
            trains=("generator", "encoder", *mapping),
            loss=self._reciprocity,
            weights={"latent": self.loss.latent_reconstruction_weight},
            moments="reciprocity" if self.loss.reciprocity_moments == "own" else "",
        )
        return *self._critic_updates(self.critics), generator, reciprocity

    def observe(self, batch: Batch, terms: Terms) -> None:
        mapping: Mapping = self.networks["mapping"]  # type: ignore[assignment]
        mapping.follow_mean(batch.noise("w_mean", self.latent), self.loss.w_mean_decay)

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        if sampling.mixing_probability or isinstance(sampling.truncation, tuple):
            raise SamplingError("ALAE of perceptrons has one code per image: no mixing, and one number for truncation")
        mapping: Mapping = networks["mapping"]  # type: ignore[assignment]
        w = mapping(batch.noise("z", self.latent))
        if sampling.truncation != 1.0:
            w = torch.lerp(mapping.w_mean.expand_as(w), w, sampling.truncation)
        return self._decode(networks, w, batch)

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor:
        return self._decode(networks, self.embed(networks, batch), batch)

    def embed(self, networks: Networks, batch: Batch) -> Tensor:
        """w [n, D] of the batch's images."""
        return self._encode(networks, batch.images[0], batch)

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        return None

    # The losses of the second and third update (ALAE, algorithm 1); those of the first are the game's.

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        return {"fake": losses.logistic_real(self._score(self._fake(batch), batch))}

    def _reciprocity(self, batch: Batch) -> dict[str, Tensor]:
        z = batch.noise("z", self.latent)
        w = self.networks["mapping"](z)
        image = self._decode(self.networks, w, batch)
        return {"latent": losses.latent_l2(self._encode(self.networks, image, batch), self._target(z, w))}

    # What StyleALAE replaces.

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        return self.networks["discriminator"](self._encode(self.networks, images, batch))

    def _target(self, z: Tensor, w: Tensor) -> Tensor:
        """What E is to find in the image of z."""
        return w.detach()

    def _fake(self, batch: Batch) -> Tensor:
        return self.generate(self.networks, batch)

    def _decode(self, networks: Networks, w: Tensor, batch: Batch) -> Tensor:
        return networks["generator"](w)

    def _encode(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        return networks["encoder"](images)
