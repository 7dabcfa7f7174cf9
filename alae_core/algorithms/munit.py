"""MUNIT (Huang et al., ECCV 2018): an image has a content code, which both domains share, and a style code of its domain.

A translation combines the content with a style of the other domain. The two updates, names and weights of the losses are those
of the official code. Deviations: docs/munit.md.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from alae_core import losses
from alae_core.alarms import Alarm
from alae_core.alarms import translation as health
from alae_core.algorithm import DOMAINS, PLAIN_SAMPLING, Batch, Networks, Sampling, SamplingError, Terms, Update
from alae_core.algorithms.two_domains import Translator, check_domain, check_sides, of_both_domains
from alae_core.networks.munit import ContentEncoder, Generator, MultiScaleDiscriminator, StyleEncoder, scale_sides

_CODERS = ("content_encoder", "style_encoder", "generator")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights with their official names; L1 terms are means over all values of an image or code."""

    gan_w: float = 1.0
    """Weight of the LSGAN loss in both updates, summed over the scales of a discriminator."""
    recon_x_w: float = 10.0
    """Weight of the L1 error of an image's reconstruction within its domain; higher values preserve more detail."""
    recon_s_w: float = 1.0
    """Weight of the L1 error of a random style recovered from its translation; higher values make styles more distinct."""
    recon_c_w: float = 1.0
    """Weight of the L1 error of a content recovered from its translation; higher values preserve more content."""
    recon_x_cyc_w: float = 0.0
    """Weight of the cycle-consistency L1 error, with the image's own style on the way back; 10 preserves the layout, 0: none."""
    vgg_w: float = 0.0
    """Weight of the domain-invariant perceptual loss, for images of 512 px and more; needs training.vgg16_weights, 0: none."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and losses of MUNIT. Training images have `resolution`; `translate` takes other sizes too."""

    kind: Literal["munit"] = "munit"
    resolution: int = 256
    """Side of the generated images in pixels."""
    channels: int = 3
    """Channels of the images: 1 is grayscale, 3 is colour."""
    latent: int = 8
    """Length of a style code."""
    base_channels: int = 64
    """Channels at the full resolution, doubled by each downsampling."""
    hidden: int = 256
    """Width of the MLP that turns a style into AdaIN parameters."""
    downsamplings: int = 2
    """Number of downsamplings from an image to its content."""
    residual_blocks: int = 4
    """Residual blocks of the content encoder and of the generator, where each has two AdaIN layers."""
    scales: int = 3
    """Scales of a discriminator: full resolution, half, a quarter."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the losses."""

    domains = 2
    perceptual_field = "loss.vgg_w"
    charts = health.MUNIT_CHARTS

    @property
    def perceptual_weight(self) -> float:
        return self.loss.vgg_w

    def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that watch a run."""
        return health.munit_alarms(self.scales)

    def search_space(self) -> tuple[str, ...]:
        """Search space: the reconstruction weights, because only their ratios to the adversarial weight matter."""
        return (
            "algorithm.loss.recon_x_w=loguniform(0.1, 20)",
            "algorithm.loss.recon_s_w=loguniform(0.3, 5)",
            "algorithm.loss.recon_c_w=loguniform(0.3, 5)",
            "algorithm.loss.recon_x_cyc_w=choice(0, 1, 3, 10)",
        )

    def __post_init__(self) -> None:
        for name in ("downsamplings", "residual_blocks", "scales"):
            if getattr(self, name) < 1:
                raise ValueError(f"algorithm.{name}={getattr(self, name)} must be a whole number at least 1")
        step = 2**self.downsamplings
        if self.resolution % step or self.resolution < 2 * step:
            raise ValueError(
                f"algorithm.resolution={self.resolution} with algorithm.downsamplings={self.downsamplings}; give a multiple "
                f"of {step}, {2 * step} or more"
            )
        if scale_sides(self.resolution, self.scales)[-1] < 2:
            raise ValueError(
                f"algorithm.scales={self.scales} leaves one pixel of algorithm.resolution={self.resolution}; give fewer "
                "scales"
            )

    def build(self) -> "MUNIT":
        """Networks with fresh weights from torch's global generator; seed it around this call."""
        image, content = (self.resolution, self.channels), (self.downsamplings, self.residual_blocks)
        networks: dict[str, nn.Module] = {}
        for domain in DOMAINS:
            networks |= {
                f"content_encoder_{domain}": ContentEncoder(self.channels, self.base_channels, *content),
                f"style_encoder_{domain}": StyleEncoder(*image, self.latent, self.base_channels),
                f"generator_{domain}": Generator(self.channels, self.latent, self.base_channels, self.hidden, *content),
                f"discriminator_{domain}": MultiScaleDiscriminator(*image, self.base_channels, self.scales),
            }
        return MUNIT(networks, self)


class MUNIT(Translator):
    """MUNIT with two updates per iteration, translation, and encoding within a domain; a domain is 0 or 1."""

    averaged: tuple[str, ...] = tuple(f"{role}_{domain}" for domain in DOMAINS for role in _CODERS)

    def __init__(self, networks: dict[str, nn.Module], config: Config) -> None:
        self.networks = networks
        self.loss = config.loss
        self.features: Callable[[Tensor], Tensor] | None = None
        """Function of images [n, C, H, W] in [-1, 1] that returns frozen features [n, D, h, w], in the official code those of
        VGG16's relu5_3; the owner of the weights sets it."""
        self.latent = config.latent
        self.step = 2**config.downsamplings

    def updates(self, nimg: int) -> tuple[Update, ...]:
        loss = self.loss
        coders = {"gan": loss.gan_w, "recon_x": loss.recon_x_w, "recon_s": loss.recon_s_w, "recon_c": loss.recon_c_w}
        if loss.recon_x_cyc_w:
            coders["recon_x_cyc"] = loss.recon_x_cyc_w
        if loss.vgg_w:
            coders["vgg"] = loss.vgg_w
        coders |= dict.fromkeys(health.SIGNS, 0.0)
        return (
            Update(
                name="discriminator",
                trains=tuple(f"discriminator_{domain}" for domain in DOMAINS),
                loss=self._discriminator,
                weights=of_both_domains({"fake": loss.gan_w, "real": loss.gan_w}),
            ),
            Update(name="generator", trains=self.averaged, loss=self._generator, weights=of_both_domains(coders)),
        )

    def observe(self, batch: Batch, terms: Terms) -> None:
        pass

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Raise SamplingError, because images are made only from images of the other domain."""
        raise SamplingError("munit makes no image of noise alone; give images of the other domain to translate")

    def reconstruct(self, networks: Networks, batch: Batch, domain: int = 0) -> Tensor:
        """Encode and decode the batch's images of a domain within it: [n, C, H, W]."""
        images = batch.images[domain]
        content, style = self.content_of(networks, images, domain), self.style_of(networks, images, domain)
        return self.image_of(networks, content, style, domain)

    def translate(
        self,
        networks: Networks,
        batch: Batch,
        to: int,
        style: Tensor | None = None,
        *,
        count: int = 1,
        shared: bool = False,
    ) -> Tensor:
        """Translate the batch's images of the other domain into domain `to`: [n * count, C, H, W] in (-1, 1), by image.

        Each image gets `count` styles drawn from the batch's noise, the same for all images if `shared`; or `style`, one code
        [n, D] per image or one [1, D] for all, such as `style_of` an example. The first styles do not depend on `count`.
        Raises ValueError for an unknown domain, unsupported sizes, a count below 1, and a count or `shared` beside a style.
        """
        check_domain(to)
        if style is not None and (count != 1 or shared):
            raise ValueError("styles are drawn or given, not both; leave out count and shared, or the style")
        if count < 1:
            raise ValueError(f"count={count} translations are none; give 1 or more")
        images = batch.images[1 - to]
        if style is None:
            style = self.drawn_styles(batch, count, shared=shared).flatten(0, 1)
        content = self.content_of(networks, images, 1 - to).repeat_interleave(count, 0)
        return self.image_of(networks, content, style.expand(len(content), -1), to)

    def drawn_styles(self, batch: Batch, count: int = 1, *, shared: bool = False) -> Tensor:
        """Styles [n, count, D] drawn from the batch's noise, the same for all images if `shared`."""
        drawn = [batch.noise(f"style_{number}", self.latent, shared=shared) for number in range(count)]
        return torch.stack(drawn, 1)

    def content_of(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Contents [n, D', H', W'] of images [n, C, H, W] of a domain; raises ValueError for unsupported sizes."""
        check_sides(images, self.step)
        content: Tensor = networks[f"content_encoder_{DOMAINS[domain]}"](images)
        return content

    def style_of(self, networks: Networks, images: Tensor, domain: int) -> Tensor:
        """Styles [n, D] of images [n, C, H, W] of a domain; raises ValueError for images that are too small."""
        encoder: Any = networks[f"style_encoder_{DOMAINS[domain]}"]
        height, width = images.shape[2:]
        if min(height, width) < 2**encoder.halvings:
            raise ValueError(
                f"images of {height}x{width} px have no style; give sides of {2**encoder.halvings} px or more"
            )
        style: Tensor = encoder(images)
        return style

    def image_of(self, networks: Networks, content: Tensor, style: Tensor, domain: int) -> Tensor:
        """Images [n, C, H, W] of a domain from n contents and styles [n, D]."""
        image: Tensor = networks[f"generator_{DOMAINS[domain]}"](content, style)
        return image

    # Losses of the two updates (MUNIT, sections 4 and 5.1; official trainer.py, dis_update and gen_update). Both updates draw
    # their own styles. Notation: x_a, x_b images, c = E_c(x), s' = E_s(x), s ~ N(0, 1), x_ab = G_b(c_a, s_b).

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for own, other in ((0, 1), (1, 0)):
            with torch.no_grad():
                content = self.content_of(self.networks, batch.images[own], own)
                fake = self.image_of(self.networks, content, self._drawn(batch, other), other)
            # One pass for both, because images do not affect each other.
            maps = self._maps(torch.cat([fake, batch.images[other]]), other)
            of_fake, of_real = zip(*(values.chunk(2) for values in maps), strict=True)
            # sum_scales mean D_b(sg[x_ab])^2 (official networks.py, calc_dis_loss)
            terms[f"fake_{DOMAINS[other]}"] = _rated(of_fake, losses.lsgan_fake)
            # sum_scales mean (D_b(x_b) - 1)^2 (official networks.py, calc_dis_loss)
            terms[f"real_{DOMAINS[other]}"] = _rated(of_real, losses.lsgan_real)
        return terms

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        real, terms = batch.images, dict[str, Tensor]()
        contents = [self.content_of(self.networks, images, domain) for domain, images in enumerate(real)]
        styles = [self.style_of(self.networks, images, domain) for domain, images in enumerate(real)]
        for own, other in ((0, 1), (1, 0)):
            a, b, drawn = DOMAINS[own], DOMAINS[other], self._drawn(batch, other)
            both = torch.cat([contents[own], contents[other]]), torch.cat([drawn, styles[other]])
            fake, again = self.image_of(self.networks, *both, other).chunk(2)
            fake_content = self.content_of(self.networks, fake, other)
            # sum_scales mean (D_b(x_ab) - 1)^2 (official networks.py, calc_gen_loss)
            terms[f"gan_{b}"] = _rated(self._maps(fake, other), losses.lsgan_real)
            # ||G_b(c_b, s'_b) - x_b||_1 (MUNIT, section 4, image reconstruction)
            terms[f"recon_x_{b}"] = losses.mean_absolute(again, real[other])
            # ||E_s,b(x_ab) - s_b||_1 (MUNIT, section 4, latent reconstruction)
            terms[f"recon_s_{b}"] = losses.mean_absolute(self.style_of(self.networks, fake, other), drawn)
            # ||E_c,b(x_ab) - c_a||_1 (MUNIT, section 4, latent reconstruction); c_a is not detached
            terms[f"recon_c_{a}"] = losses.mean_absolute(fake_content, contents[own])
            if self.loss.vgg_w:
                # mean (IN(phi(x_ab)) - IN(phi(x_a)))^2 (MUNIT, section 5.1; official trainer.py, compute_vgg_loss)
                terms[f"vgg_{b}"] = self._perceptual(fake, real[own])
            terms |= health.signs(fake, real[own], other)
            if self.loss.recon_x_cyc_w:
                back = self.image_of(self.networks, fake_content, styles[own], own)
                # ||G_a(E_c,b(x_ab), s'_a) - x_a||_1 (MUNIT, section 5.1, style-augmented cycle consistency)
                terms[f"recon_x_cyc_{a}"] = losses.mean_absolute(back, real[own])
        return terms

    def _drawn(self, batch: Batch, domain: int) -> Tensor:
        """Random styles [n, D] of a domain for the batch's images of the other domain."""
        return batch.noise(f"style_{DOMAINS[domain]}", self.latent)

    def _perceptual(self, fake: Tensor, source: Tensor) -> Tensor:
        if self.features is None:
            raise RuntimeError(
                f"algorithm.loss.vgg_w={self.loss.vgg_w:g} needs the features of a VGG-16; set MUNIT.features, or vgg_w=0"
            )
        with torch.no_grad():
            target = self.features(source)
        return losses.perceptual(self.features(fake), target)

    def _maps(self, images: Tensor, domain: int) -> list[Tensor]:
        """Logit maps of a domain's discriminator for images, one per scale."""
        maps: list[Tensor] = self.networks[f"discriminator_{DOMAINS[domain]}"](images)
        return maps


def _rated(maps: Iterable[Tensor], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum [n] over scales of a loss of the logit maps."""
    return torch.stack([loss(values) for values in maps]).sum(0)
