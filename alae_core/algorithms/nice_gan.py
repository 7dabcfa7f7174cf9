"""NICE-GAN (Chen et al., CVPR 2020): translation between two domains without encoders of its own, the first layers of the
source's discriminator being the encoder.

Training is decoupled (section 3.3): the max step moves the discriminators, encoders included, and the min step the generators
alone, with gradients that pass through the encoders. docs/nice_gan.md has the symbols and the deviations.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.alarms import Alarm
from alae_core.alarms import translation as health
from alae_core.algorithm import DOMAINS, PLAIN_SAMPLING, Batch, Networks, Sampling, SamplingError, Terms, Update
from alae_core.algorithms.two_domains import Translator, check_domain, check_sides, of_both_domains
from alae_core.networks.nice_gan import (
    SCALE,
    Classifiers,
    Generator,
    SharedEncoder,
    follow_spectral_norms,
    smallest_resolution,
)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the min step; every L1 term is a mean over all numbers of an image. The max step's terms weigh 1."""

    adv_weight: float = 1.0
    """Of LSGAN; the three classifiers are summed."""
    cycle_weight: float = 10.0
    """Of an image that is translated there and back."""
    recon_weight: float = 10.0
    """Of an image that its own domain's generator makes of its code: both generators take one space of codes."""
    identity_weight: float = 0.0
    """Of an image that the other domain's encoder codes and its own generator decodes; 5 to 10 where colours drift."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and losses. Images are of one resolution in training; in `translate` the light form takes any that fits."""

    kind: Literal["nice_gan"] = "nice_gan"
    resolution: int = 256
    channels: int = 3
    base_channels: int = 64
    """At half the resolution in an encoder, and at the full one in a generator."""
    residual_blocks: int = 6
    """Of a generator; 4 in the smaller published form."""
    form: Literal["light", "full"] = "light"
    """What a generator's norms go by: the means of its first features, as all published results; or the features, which takes
    268 million parameters more at 256 px, and images of `resolution` alone."""
    discriminator_layers: int = 7
    """7: local patches of 70 pixels, global ones of 286, images of 96 px or more; 6: 34, 142 and 48."""
    loss: LossConfig = field(default_factory=LossConfig)

    domains = 2
    charts = health.NICE_GAN_CHARTS

    def alarms(self) -> tuple[Alarm, ...]:
        """What a run is watched for."""
        return health.nice_gan_alarms()

    def search_space(self) -> tuple[str, ...]:
        """What a search tries: the reconstruction weights, of which too much gives back the image itself."""
        return ("algorithm.loss.cycle_weight=loguniform(1, 20)", "algorithm.loss.recon_weight=loguniform(1, 20)")

    def __post_init__(self) -> None:
        if self.discriminator_layers < 6:
            raise ValueError(
                f"algorithm.discriminator_layers={self.discriminator_layers} leaves the classifiers too few; give 6 or more"
            )
        smallest = smallest_resolution(self.discriminator_layers)
        if self.resolution % SCALE or self.resolution < smallest:
            raise ValueError(
                f"algorithm.resolution={self.resolution} with algorithm.discriminator_layers={self.discriminator_layers}; "
                f"give a multiple of {SCALE}, {smallest} or more"
            )

    def build(self) -> "NiceGAN":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        networks: dict[str, nn.Module] = {}
        for domain in DOMAINS:
            networks |= {
                f"encoder_{domain}": SharedEncoder(self.channels, self.base_channels),
                f"classifiers_{domain}": Classifiers(self.base_channels, self.discriminator_layers),
                f"generator_{domain}": Generator(
                    self.channels, self.base_channels, self.residual_blocks, self.form, self.resolution
                ),
            }
        return NiceGAN(networks, self)


class Judged(NamedTuple):
    """What a discriminator makes of images."""

    code: Tensor
    """[n, 2 base, H/4, W/4], for its own classifiers and for both generators."""
    logits: tuple[Tensor, ...]
    """Of C0 [n, 1], C1 and C2 [n, 1, h, w]."""

    def rated(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """The sum [n] of a loss of each classifier's logits."""
        return torch.stack([loss(logits) for logits in self.logits]).sum(0)


class NiceGAN(Translator):
    """The max and the min step of one iteration, translation, and heat maps; a domain is 0 or 1."""

    averaged: tuple[str, ...] = tuple(f"{role}_{domain}" for domain in DOMAINS for role in ("encoder", "generator"))

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        self.networks = networks
        self.loss = config.loss
        self.step = SCALE
        self.side = config.resolution if config.form == "full" else None

    def updates(self, nimg: int) -> tuple[Update, ...]:
        loss = self.loss
        weights = {"adversarial": loss.adv_weight, "cycle": loss.cycle_weight, "reconstruction": loss.recon_weight}
        if loss.identity_weight:
            weights["identity"] = loss.identity_weight
        weights |= dict.fromkeys(health.SIGNS, 0.0)
        return (
            Update(name="discriminator", trains=self._discriminators, loss=self._discriminator),
            Update(
                name="generator",
                trains=tuple(f"generator_{domain}" for domain in DOMAINS),
                loss=self._generator,
                weights=of_both_domains(weights),
            ),
        )

    def observe(self, batch: Batch, terms: Terms) -> None:
        """Let the spectral norms follow the weights that this iteration left."""
        for role in self._discriminators:
            follow_spectral_norms(self.networks[role])

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Raises SamplingError: an image comes of another image."""
        raise SamplingError("nice_gan makes no image of noise; give images of the other domain to translate")

    def reconstruct(self, networks: Networks, batch: Batch, domain: int = 0) -> Tensor:
        """The batch's images of the domain, coded and decoded within it: [n, C, H, W]."""
        return self.decode(networks, self.embed(networks, batch, domain), domain)

    def embed(self, networks: Networks, batch: Batch, domain: int = 0) -> Tensor:
        """Codes [n, 2 base, H/4, W/4] of the batch's images of the domain."""
        return self._coded(networks, batch.images[domain], domain)[0]

    def translate(self, networks: Networks, batch: Batch, to: int, style: Tensor | None = None) -> Tensor:
        """The batch's images of the other domain in domain `to`: [n, C, H, W] in (-1, 1), one each, by no style.

        Raises ValueError for an unknown domain, for a style, and for sizes that the networks do not take.
        """
        check_domain(to)
        if style is not None:
            raise ValueError("nice_gan translates an image in one way only; leave out the style")
        return self.decode(networks, self.embed(networks, batch, 1 - to), to)

    def attention(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Heat maps [n, H/4, W/4], the sums of the codes' channels, of images [n, C, H, W]: where the encoder looks."""
        code = self._coded(networks, images, domain)[0]
        return code.to(torch.promote_types(code.dtype, torch.float32)).sum(1)

    def decode(self, networks: Networks, codes: Tensor, domain: int) -> Tensor:
        """Images [n, C, 4h, 4w] of the domain, of codes [n, 2 base, h, w] of either."""
        image: Tensor = networks[f"generator_{DOMAINS[domain]}"](codes)
        return image

    def _coded(self, networks: Networks, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Codes and C0's logits; raises ValueError for sizes that do not fit."""
        height, width = images.shape[2:]
        if self.side and (height, width) != (self.side, self.side):
            raise ValueError(
                f"images of {height}x{width} px do not fit algorithm.form=full, which takes {self.side}x{self.side} alone; "
                "resize them, or train with algorithm.form=light"
            )
        check_sides(images, SCALE)
        encoder: Any = networks[f"encoder_{DOMAINS[domain]}"]
        code, logit = encoder(images)
        return code, logit

    # Of training (section 3.3).

    @property
    def _discriminators(self) -> tuple[str, ...]:
        return tuple(f"{role}_{domain}" for domain in DOMAINS for role in ("encoder", "classifiers"))

    def _judged(self, images: Tensor, domain: int) -> Judged:
        code, logit = self._coded(self.networks, images, domain)
        return Judged(code, (logit, *self._classified(code, domain)))

    def _classified(self, code: Tensor, domain: int) -> tuple[Tensor, ...]:
        """The logits of C1 and C2."""
        logits: tuple[Tensor, ...] = self.networks[f"classifiers_{DOMAINS[domain]}"](code)
        return logits

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        """The max step: an encoder learns by judging alone, not by what the generators make of its codes."""
        real = [self._coded(self.networks, images, domain) for domain, images in enumerate(batch.images)]
        terms: dict[str, Tensor] = {}
        for domain, name in enumerate(DOMAINS):
            with torch.no_grad():
                fake = self.decode(self.networks, real[1 - domain][0], domain)
            (code, logit), (fake_code, fake_logit) = real[domain], self._coded(self.networks, fake, domain)
            # One pass for both: images do not see each other, and the large weights are read once.
            both = self._classified(torch.cat([code, fake_code]), domain)
            of_real, of_fake = zip(*(logits.chunk(2) for logits in both), strict=True)
            terms[f"real_{name}"] = Judged(code, (logit, *of_real)).rated(losses.lsgan_real)
            terms[f"fake_{name}"] = Judged(fake_code, (fake_logit, *of_fake)).rated(losses.lsgan_fake)
        return terms

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        """The min step: codes of reals are made anew by the encoders that have stepped, and nothing in them can move."""
        with torch.no_grad():
            codes = [self.embed(self.networks, batch, domain) for domain in (0, 1)]
        terms: dict[str, Tensor] = {}
        for domain, other in ((0, 1), (1, 0)):
            # One pass for both: images do not see each other.
            both = self.decode(self.networks, torch.cat([codes[other], codes[domain]]), domain)
            fake, reconstruction = both.chunk(2)
            judged = self._judged(fake, domain)
            back = self.decode(self.networks, judged.code, other)
            terms[f"adversarial_{DOMAINS[domain]}"] = judged.rated(losses.lsgan_real)
            terms[f"cycle_{DOMAINS[other]}"] = losses.mean_absolute(back, batch.images[other])
            terms |= health.signs(fake, batch.images[other], domain)
            terms[f"reconstruction_{DOMAINS[domain]}"] = losses.mean_absolute(reconstruction, batch.images[domain])
            if self.loss.identity_weight:
                terms[f"identity_{DOMAINS[domain]}"] = self._identity(batch.images[domain], domain)
        return terms

    def _identity(self, images: Tensor, domain: int) -> Tensor:
        with torch.no_grad():
            code, _ = self._coded(self.networks, images, 1 - domain)
        return losses.mean_absolute(self.decode(self.networks, code, domain), images)
