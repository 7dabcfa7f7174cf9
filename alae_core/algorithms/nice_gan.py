"""NICE-GAN (Chen et al., CVPR 2020): translation between two domains, with the first layers of a discriminator as the encoder.

Training is decoupled (section 3.3): the max step updates the discriminators with their encoders, the min step only the
generators, with gradients that pass through the encoders. Symbols and deviations: docs/nice_gan.md.
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
    """Weights of the min step; L1 terms are means over all values of an image. The terms of the max step weigh 1."""

    adv_weight: float = 1.0
    """Weight of the LSGAN loss, summed over the three classifiers."""
    cycle_weight: float = 10.0
    """Weight of the cycle-consistency L1 error; higher values preserve more of the input."""
    recon_weight: float = 10.0
    """Weight of the L1 error of an image's reconstruction in its domain, which makes both generators share codes."""
    identity_weight: float = 0.0
    """Weight of the L1 error of an image from the other encoder and its own generator; 5 to 10 if colours drift, 0: none."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and losses of NICE-GAN. Training images have `resolution`; in `translate` the light form takes other sizes too."""

    kind: Literal["nice_gan"] = "nice_gan"
    resolution: int = 256
    """Side of the generated images in pixels."""
    channels: int = 3
    """Channels of the images: 1 is grayscale, 3 is colour."""
    base_channels: int = 64
    """Channels of an encoder at half the resolution, and of a generator at the full resolution."""
    residual_blocks: int = 6
    """Residual blocks of a generator; 4 in the smaller published form."""
    form: Literal["light", "full"] = "light"
    """Input of the MLP that sets a generator's norms: the means of its first features ("light", all published results), or the
    features, which adds 268 million parameters at 256 px and allows only images of `resolution`."""
    discriminator_layers: int = 7
    """7: local patches of 70 px, global patches of 286 px, images of at least 96 px; 6: 34, 142 and 48 px."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses of the generators' update."""

    domains = 2
    charts = health.NICE_GAN_CHARTS

    def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that watch a run."""
        return health.nice_gan_alarms()

    def search_space(self) -> tuple[str, ...]:
        """Search space: the reconstruction weights, which give the identity if they are too large."""
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
    """Output of a discriminator for images."""

    code: Tensor
    """Codes [n, 2 base, H/4, W/4], the input of its classifiers and of both generators."""
    logits: tuple[Tensor, ...]
    """Logits of C0 [n, 1], and of C1 and C2 [n, 1, h, w]."""

    def rated(self, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """Sum [n] over the classifiers of a loss of their logits."""
        return torch.stack([loss(logits) for logits in self.logits]).sum(0)


class NiceGAN(Translator):
    """NICE-GAN with a max and a min step per iteration, translation, and heat maps; a domain is 0 or 1."""

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
        """Update the spectral norms for the weights after this iteration."""
        for role in self._discriminators:
            follow_spectral_norms(self.networks[role])

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Raise SamplingError, because images are made only from images of the other domain."""
        raise SamplingError("nice_gan makes no image of noise; give images of the other domain to translate")

    def reconstruct(self, networks: Networks, batch: Batch, domain: int = 0) -> Tensor:
        """Encode and decode the batch's images of a domain within it: [n, C, H, W]."""
        return self.decode(networks, self.embed(networks, batch, domain), domain)

    def embed(self, networks: Networks, batch: Batch, domain: int = 0) -> Tensor:
        """Codes [n, 2 base, H/4, W/4] of the batch's images of a domain."""
        return self._coded(networks, batch.images[domain], domain)[0]

    def translate(self, networks: Networks, batch: Batch, to: int, style: Tensor | None = None) -> Tensor:
        """Translate the batch's images of the other domain into domain `to`: [n, C, H, W] in (-1, 1), one per image.

        Raises ValueError for an unknown domain, for a style, and for unsupported sizes.
        """
        check_domain(to)
        if style is not None:
            raise ValueError("nice_gan translates an image in one way only; leave out the style")
        return self.decode(networks, self.embed(networks, batch, 1 - to), to)

    def attention(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Heat maps [n, H/4, W/4] of the encoder's attention to images [n, C, H, W]: the sums of the codes' channels."""
        code = self._coded(networks, images, domain)[0]
        return code.to(torch.promote_types(code.dtype, torch.float32)).sum(1)

    def decode(self, networks: Networks, codes: Tensor, domain: int) -> Tensor:
        """Images [n, C, 4h, 4w] of a domain from codes [n, 2 base, h, w] of either domain."""
        image: Tensor = networks[f"generator_{DOMAINS[domain]}"](codes)
        return image

    def _coded(self, networks: Networks, images: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Codes and C0's logits of images; raises ValueError for unsupported sizes."""
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

    # Training (section 3.3; official NICE.py, train). Notation: E_x, G_x encoder and generator of domain x, y~ = G_y(E_x(x)),
    # h the classifiers C0, C1 and C2.

    @property
    def _discriminators(self) -> tuple[str, ...]:
        return tuple(f"{role}_{domain}" for domain in DOMAINS for role in ("encoder", "classifiers"))

    def _judged(self, images: Tensor, domain: int) -> Judged:
        code, logit = self._coded(self.networks, images, domain)
        return Judged(code, (logit, *self._classified(code, domain)))

    def _classified(self, code: Tensor, domain: int) -> tuple[Tensor, ...]:
        """Logits of C1 and C2."""
        logits: tuple[Tensor, ...] = self.networks[f"classifiers_{DOMAINS[domain]}"](code)
        return logits

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the max step, which trains encoders only as parts of their discriminators."""
        real = [self._coded(self.networks, images, domain) for domain, images in enumerate(batch.images)]
        terms: dict[str, Tensor] = {}
        for domain, name in enumerate(DOMAINS):
            with torch.no_grad():
                fake = self.decode(self.networks, real[1 - domain][0], domain)
            (code, logit), (fake_code, fake_logit) = real[domain], self._coded(self.networks, fake, domain)
            # One pass for both, because images do not affect each other; it reads the large weights once.
            both = self._classified(torch.cat([code, fake_code]), domain)
            of_real, of_fake = zip(*(logits.chunk(2) for logits in both), strict=True)
            # sum_h mean (h(y) - 1)^2 (official NICE.py)
            terms[f"real_{name}"] = Judged(code, (logit, *of_real)).rated(losses.lsgan_real)
            # sum_h mean h(sg[y~])^2 (official NICE.py)
            terms[f"fake_{name}"] = Judged(fake_code, (fake_logit, *of_fake)).rated(losses.lsgan_fake)
        return terms

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the min step; codes of reals are from the updated encoders and have no gradient."""
        with torch.no_grad():
            codes = [self.embed(self.networks, batch, domain) for domain in (0, 1)]
        terms: dict[str, Tensor] = {}
        for domain, other in ((0, 1), (1, 0)):
            # One pass for both, because images do not affect each other.
            both = self.decode(self.networks, torch.cat([codes[other], codes[domain]]), domain)
            fake, reconstruction = both.chunk(2)
            judged = self._judged(fake, domain)
            back = self.decode(self.networks, judged.code, other)
            # lambda_1 sum_h mean (h(y~) - 1)^2 (official NICE.py)
            terms[f"adversarial_{DOMAINS[domain]}"] = judged.rated(losses.lsgan_real)
            # lambda_2 ||x - G_x(E_y(y~))||_1 (official NICE.py)
            terms[f"cycle_{DOMAINS[other]}"] = losses.mean_absolute(back, batch.images[other])
            terms |= health.signs(fake, batch.images[other], domain)
            # lambda_3 ||y - G_y(E_y(y))||_1, which makes both generators share codes (official NICE.py)
            terms[f"reconstruction_{DOMAINS[domain]}"] = losses.mean_absolute(reconstruction, batch.images[domain])
            if self.loss.identity_weight:
                # ||y - G_y(E_x(y))||_1, CycleGAN's identity loss; not in the official code
                terms[f"identity_{DOMAINS[domain]}"] = self._identity(batch.images[domain], domain)
        return terms

    def _identity(self, images: Tensor, domain: int) -> Tensor:
        with torch.no_grad():
            code, _ = self._coded(self.networks, images, 1 - domain)
        return losses.mean_absolute(self.decode(self.networks, code, domain), images)
