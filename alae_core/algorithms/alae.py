"""ALAE (Pidhorskyi et al., CVPR 2020, section 4): a GAN of four networks F, G, E, D that is an autoencoder of W.

The networks here are MLPs (section 5.1, permutation-invariant MNIST); StyleALAE derives from this module. Details that the
paper leaves open are those of the official code: the third update trains F too (its target is detached), the squared error is
a mean over dimensions, and the adversarial and the reciprocity loss share each network's second moments. All options and
deviations: docs/alae.md.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling, SamplingError, Terms, Update
from alae_core.algorithms.logistic_game import LogisticGame, check_r1_every
from alae_core.networks.mapping import LinearDiscriminator, Mapping
from alae_core.networks.mlp import MLPEncoder, MLPGenerator


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights and options of the losses of the three updates."""

    r1_gamma: float = 10.0
    """gamma of the gradient penalty R1 on real images: gamma / 2 times the squared gradient norm. Larger is more stable."""
    r1_every: int = 1
    """Interval of R1 in iterations: 1 makes it a term of the discriminator update, k > 1 a separate, lazy update."""
    latent_reconstruction_weight: float = 1.0
    """Weight of the mean squared error between w and the code of its image. Larger values favour reconstructions."""
    latent_reconstruction_trains_mapping: bool = True
    """Whether the third update trains F too, as in the official code; the paper trains E and G only."""
    reciprocity_moments: Literal["shared", "own"] = "shared"
    """Adam's second moments in the third update: shared with the other updates, as in the official code, or separate."""
    w_mean_decay: float = 0.995
    """Decay of the running mean of w per iteration, in [0, 1); truncation uses this mean. The official code has 0.995 ** 3."""

    def __post_init__(self) -> None:
        check_r1_every(self.r1_every)


LATENT_SPACE = ("algorithm.loss.latent_reconstruction_weight=loguniform(0.1, 10)",)
"""Default search space: the weight of the third update, a decade to either side of the paper's 1."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """MLP ALAE on images of one resolution."""

    kind: Literal["alae"] = "alae"
    resolution: int = 32
    """Side of the generated images in pixels."""
    channels: int = 1
    """Channels of the images: 1 is grayscale, 3 is colour."""
    latent: int = 50
    """Length of the codes z and w."""
    hidden: int = 1024
    """Width of the hidden layers of the encoder and the generator."""
    mapping_layers: int = 6
    """Dense layers of the mapping network from z to w."""
    mapping_lr_multiplier: float = 0.1
    """Learning rate of the mapping network and the discriminator relative to the others."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses, and how the updates share their state."""

    def search_space(self) -> tuple[str, ...]:
        return LATENT_SPACE

    def build(self) -> "MLPALAE":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        networks = {
            "mapping": Mapping(self.latent, self.mapping_layers, self.mapping_lr_multiplier),
            "generator": MLPGenerator(self.latent, self.hidden, self.resolution, self.channels),
            "encoder": MLPEncoder(self.latent, self.hidden, self.resolution, self.channels),
            "discriminator": LinearDiscriminator(self.latent, self.mapping_lr_multiplier),
        }
        return MLPALAE(networks, self.latent, self.loss)


class ALAE(LogisticGame):
    """The three updates of one iteration; `_fake`, `decode` and `_encode` say what W means to the networks."""

    loss: LossConfig
    domains = 1
    together = 1
    observed: tuple[str, ...] = ()
    averaged: tuple[str, ...] = ("mapping", "generator", "encoder")
    critics: tuple[str, ...] = ("encoder", "discriminator")
    """Networks trained by the discriminator update."""

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
            raise SamplingError("ALAE with MLPs has one code per image: no mixing, and one number for truncation")
        mapping: Mapping = networks["mapping"]  # type: ignore[assignment]
        w = mapping(batch.noise("z", self.latent))
        if sampling.truncation != 1.0:
            w = torch.lerp(mapping.w_mean.expand_as(w), w, sampling.truncation)
        return self.decode(networks, w, batch, sampling)

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor:
        return self.decode(networks, self.embed(networks, batch), batch)

    def mapped(self, networks: Networks, z: Tensor) -> Tensor:
        """w [n, D] of z [n, D]."""
        return networks["mapping"](z)

    def decode(self, networks: Networks, codes: Tensor, batch: Batch, sampling: Sampling | None = None) -> Tensor:
        """Images [n, C, R, R] of w [n, D]; nothing in them is noise."""
        return networks["generator"](codes)

    def embed(self, networks: Networks, batch: Batch) -> Tensor:
        """w [n, D] of the batch's images."""
        return self._encode(networks, batch.images[0], batch)

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        return None

    # Losses of the second and third update (ALAE, algorithm 1); `LogisticGame` has those of the first, with D(E(x)) as logits.

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        # softplus(-D(E(G(F(z))))) (ALAE, algorithm 1; official losses.py, generator_logistic_non_saturating)
        return {"fake": losses.logistic_real(self._score(self._fake(batch), batch))}

    def _reciprocity(self, batch: Batch) -> dict[str, Tensor]:
        # 1/D ||sg[F(z)] - E(G(F(z)))||^2 (ALAE, algorithm 1; official losses.py, reconstruction)
        z = batch.noise("z", self.latent)
        w = self.networks["mapping"](z)
        image = self.decode(self.networks, w, batch)
        return {"latent": losses.latent_l2(self._encode(self.networks, image, batch), self._target(z, w))}

    # Methods that StyleALAE overrides.

    def _score(self, images: Tensor, batch: Batch) -> Tensor:
        return self.networks["discriminator"](self._encode(self.networks, images, batch))

    def _target(self, z: Tensor, w: Tensor) -> Tensor:
        """Target [n, D] of E for the image of z."""
        return w.detach()

    def _fake(self, batch: Batch) -> Tensor:
        return self.generate(self.networks, batch)

    def _encode(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        return networks["encoder"](images)


class MLPALAE(ALAE):
    """ALAE on MLPs, whose encoder has a long code before the code."""

    def embed_long(self, networks: Networks, batch: Batch) -> Tensor:
        """The encoder's last hidden layer [n, hidden] of the batch's images."""
        encoder: Any = networks["encoder"]
        features: Tensor = encoder.features(batch.images[0])
        return features
