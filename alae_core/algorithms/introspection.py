"""Base of the IntroVAE family: a VAE whose encoder also discriminates reals from fakes, by the KL of their posteriors."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.algorithm import PLAIN_SAMPLING, Batch, Networks, Sampling, SamplingError, Terms
from alae_core.networks.intro_vae import Form, ResidualDecoder, ResidualEncoder
from alae_core.schedule import Level, at_level


class Posterior(NamedTuple):
    """Posteriors N(mean, exp(log_variance)) of images, [n, D] each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Sample z [n, D] with standard normal noise [n, D]."""
        # z = mu + exp(log s^2 / 2) eps
        return torch.addcmul(self.mean, torch.exp(0.5 * self.log_variance), noise)

    def kl(self) -> Tensor:
        """KL divergence from the prior N(0, 1), [n], in nats."""
        return losses.normal_kl(self.mean, self.log_variance)


class Warmup(Protocol):
    """Field that the LossConfigs of the whole family have."""

    @property
    def warmup_kimg(self) -> tuple[float, ...]: ...


@dataclass(frozen=True, kw_only=True)
class ResidualConfig:
    """Residual networks up to `resolution`, with `base_channels` there and at most `max_channels` at the coarse levels."""

    resolution: int = 128
    """Side of the generated images in pixels."""
    channels: int = 3
    """Channels of the images: 1 is grayscale, 3 is colour."""
    latent: int = 256
    """Length of the code z."""
    base_channels: int = 64
    """Feature channels at the full resolution; they double with every halving, up to max_channels."""
    max_channels: int = 512
    """Most feature channels of a layer, at the coarse levels."""
    first_resolution: int | None = None
    """First resolution of networks that grow level by level, a power of two from 4 up; None: only `resolution`."""
    norm: Literal["group", "batch", "none"] = "group"
    """Group norm; batch norm over `group` consecutive images, in evaluation too, as in the official code; or only a bias."""
    norm_after_addition: bool = True
    """Whether a block's second norm follows the addition (IntroVAE) or precedes it (Soft-IntroVAE)."""
    group: int = 8
    """Images in a row whose statistics are taken together."""

    grouped_by = "group"

    def __post_init__(self) -> None:
        first = self.first_resolution
        if first is not None and (first < 4 or first & (first - 1) or first > self.resolution):
            raise ValueError(
                f"algorithm.first_resolution={first}; give a power of two from 4 to algorithm.resolution="
                f"{self.resolution}, or leave it out for networks of one resolution"
            )
        if self.group < 1:
            raise ValueError(f"algorithm.group={self.group}; give 1 (images do not see each other) or more, such as 8")

    @property
    def together(self) -> int:
        """Consecutive images with common batch statistics; 1 if there are none."""
        return self.group if self.norm == "batch" else 1

    def networks(self) -> dict[str, nn.Module]:
        """Encoder and generator with fresh weights from torch's global generator."""
        form = Form(norm=self.norm, norm_after_addition=self.norm_after_addition, group=self.group)
        size = (self.resolution, self.channels, self.latent, self.base_channels, self.max_channels, form)
        return {
            "encoder": ResidualEncoder(*size, self.first_resolution),
            "generator": ResidualDecoder(*size, self.first_resolution),
        }


class Introspection:
    """Encoding, decoding and sampling; an algorithm of the family adds its two updates.

    A code is the input of the generator: here z itself, styles in algorithms with a mapping.
    """

    domains = 1
    together = 1
    averaged: tuple[str, ...] = ("encoder", "generator")
    observed: tuple[str, ...] = ()
    loss: Warmup

    def __init__(self, networks: dict[str, nn.Module], latent: int, resolution: int) -> None:
        self.networks = networks
        self.latent = latent
        self.resolution = resolution

    def observe(self, batch: Batch, terms: Terms) -> None:
        pass

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        if sampling.mixing_probability or isinstance(sampling.truncation, tuple):
            raise SamplingError("a VAE has one code per image: no mixing, and one number for truncation")
        return self.decode(networks, batch.noise("z", self.latent) * sampling.truncation, batch, sampling)

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor | None:
        return self.decode(networks, self.embed(networks, batch), batch)

    def embed(self, networks: Networks, batch: Batch) -> Tensor:
        """Codes [n, D] of the posterior means of the batch's images."""
        return self.mapped(networks, self.encode(networks, batch.images[0], batch).mean)

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        return None

    def mapped(self, networks: Networks, z: Tensor) -> Tensor:
        """Codes of z [n, D]."""
        return z

    def encode(self, networks: Networks, images: Tensor, batch: Batch) -> Posterior:
        """Posteriors of images [m, C, R, R] at the batch's level."""
        encoder: Any = networks["encoder"]
        return Posterior(*encoder(images, batch.level.depth, batch.level.blend))

    def decode(self, networks: Networks, codes: Tensor, batch: Batch, sampling: Sampling | None = None) -> Tensor:
        """Images [m, C, R, R] of codes; m is a multiple of the batch's n, and nothing in them is noise."""
        image: Tensor = networks["generator"](codes, batch.level.depth, batch.level.blend)
        return image

    # Training.

    def _prior(self, batch: Batch) -> Tensor:
        """Codes of prior samples z_p, the same in all updates of an iteration."""
        return of_iteration(batch).noise("prior", self.latent)

    def _encoded(self, batch: Batch) -> tuple[Posterior, Tensor]:
        """Posterior of the reals and a sample z of it, which is passed on to the generator's update."""
        posterior = self.encode(self.networks, batch.images[0], batch)
        z = posterior.sample(of_iteration(batch).noise("posterior", self.latent))
        batch.hand_on("z", z)
        return posterior, z

    @torch.no_grad()
    def _handed_z(self, batch: Batch) -> Tensor:
        """Sample z from the encoder's update, before its step; if that update did not run, from the current encoder."""
        handed = batch.handed("z")
        return self._encoded(batch)[1] if handed is None else handed

    def _joined(self, batch: Batch, *codes: Tensor) -> Tensor:
        """Concatenate codes to decode them together."""
        return torch.cat(codes)

    def _error(self, images: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """Squared error [n] of images in [-1, 1], as if in [0, 1] and summed over the pixels of the full resolution."""
        # L_AE = (R_full / R)^2 ||x - x_r||^2 (IntroVAE, without its 1/2, as in main.py)
        return losses.squared_error(images, target) * (self.resolution / batch.level.resolution) ** 2

    def _warming(self, level: Level) -> bool:
        """Whether the level still trains as a plain VAE."""
        return level.seen < 1000 * at_level(self.loss.warmup_kimg, level.index)


def of_iteration(batch: Batch) -> Batch:
    """Batch whose noise is the same in all updates of the iteration."""
    return replace(batch, update="codes")


def check_weights(loss: Any, *names: str) -> None:
    """Raise ValueError if one of these tuples is empty or has a negative value."""
    for name in names:
        values = getattr(loss, name)
        if not values or min(values) < 0:
            raise ValueError(f"algorithm.loss.{name}={values}; give one value of at least 0 for each level, or one")
