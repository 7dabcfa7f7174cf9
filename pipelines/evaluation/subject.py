"""The networks under evaluation, with samples, reconstructions, translations and codes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alae_core.algorithm import PLAIN_SAMPLING, Algorithm, Batch, Networks, Sampling
from alae_core.capabilities import Codes, DrawsStyles, Encodes, EncodesLong, Styles, Translates
from alae_core.schedule import Level
from pipelines.evaluation.features.extractor import batches, most_at_once


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Networks at the level of their checkpoint; `seed` and the batch number determine all noise."""

    algorithm: Algorithm
    networks: Networks
    level: Level
    channels: int
    seed: int

    def batch(
        self, number: int, count: int, real: Tensor | None = None, purpose: str = "evaluate", domain: int = 0
    ) -> Batch:
        """Return batch `number` with `count` images; `real` [count, C, R, R] are the images of `domain`.

        The noise of an image does not depend on `count`, so a smaller batch is the beginning of a larger one.
        """
        size = self.level.resolution
        shown = torch.zeros(count, self.channels, size, size) if real is None else real
        images = tuple(shown if own == domain else shown[:0] for own in range(self.domains))
        level = replace(self.level, batch_size=max(most_at_once(size), count))
        return Batch(images=images, level=level, nimg=number, seed=self.seed, rows=slice(0, count), update=purpose)

    def generate(self, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Generate images [n, C, R, R]; raises RuntimeError if one is not finite."""
        return _finite("generated images", self.algorithm.generate(self.networks, batch, sampling))

    def samples(self, count: int, sampling: Sampling = PLAIN_SAMPLING) -> Iterator[Tensor]:
        """Generate `count` images in batches [n, C, R, R]; raises RuntimeError if one is not finite."""
        for number, size in enumerate(batches(count, self.level.resolution)):
            yield self.generate(self.batch(number, size), sampling)

    def reconstruction(self, real: Tensor, domain: int = 0) -> Tensor | None:
        """Reconstruct images [n, C, R, R] in their domain; None without an encoder; raises RuntimeError if one is not finite."""
        parts = []
        for part in real.split(batches(len(real), self.level.resolution)):
            reconstructed = self._reconstructed(self.batch(0, len(part), part, domain=domain), domain)
            if reconstructed is None:
                return None
            parts.append(reconstructed)
        return _finite("reconstructions", torch.cat(parts))

    def _reconstructed(self, batch: Batch, domain: int) -> Tensor | None:
        if isinstance(self.algorithm, Translates):
            return self.algorithm.reconstruct(self.networks, batch, domain)
        return self.algorithm.reconstruct(self.networks, batch)

    @property
    def domains(self) -> int:
        """Number of image domains: 2 for a translator, otherwise 1."""
        return self.algorithm.domains

    def translated(
        self,
        real: Tensor,
        to: int,
        number: int,
        purpose: str = "translations",
        *,
        style: Tensor | None = None,
        count: int = 1,
        shared: bool = False,
    ) -> Tensor:
        """Translate real images [n, C, R, R] to domain `to`, each with its own style if the algorithm draws styles.

        `purpose` and the batch number determine the styles; `style`, `count` and `shared` are those of
        `DrawsStyles.translate`, only for algorithms with styles. Raises RuntimeError if an image is not finite.
        """
        batch = self.batch(number, len(real), real, purpose, domain=1 - to)
        algorithm = self.algorithm
        if isinstance(algorithm, DrawsStyles):
            made = algorithm.translate(self.networks, batch, to, style, count=count, shared=shared)
        elif isinstance(algorithm, Translates):
            assert style is None and (count, shared) == (1, False), "one translation of an image"
            made = algorithm.translate(self.networks, batch, to)
        else:
            raise ValueError("the algorithm has one domain and cannot translate; give a run of two domains")
        return _finite("translations", made)

    @property
    def latent(self) -> int:
        """Length of z and w."""
        return self._codes.latent

    def mapped(self, z: Tensor) -> Tensor:
        """Map z [n, D] to w [n, D]."""
        return self._codes.mapped(self.networks, z)

    def encoded(self, batch: Batch) -> Tensor:
        """Encode the batch's images to w [n, D]; requires the capability `Encodes`."""
        assert isinstance(self.algorithm, Encodes), "asked only where codes of images can be had"
        return self.algorithm.embed(self.networks, batch)

    def encoded_long(self, batch: Batch) -> Tensor:
        """Encode the batch's images to long codes [n, hidden]; requires the capability `EncodesLong`."""
        assert isinstance(self.algorithm, EncodesLong), "asked only where long codes can be had"
        return self.algorithm.embed_long(self.networks, batch)

    def decoded(self, codes: Tensor, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Decode codes [n, D] or styles [n, layers, D] to images [n, C, R, R], with the batch's noise as `sampling` selects."""
        return _finite("images", self._codes.decode(self.networks, codes, batch, sampling))

    @property
    def styles(self) -> int:
        """Number of layers of the level that have a style; 1 if an image has one code."""
        return self.algorithm.style_layers(self.level) if isinstance(self.algorithm, Styles) else 1

    @property
    def _codes(self) -> Codes:
        if not isinstance(self.algorithm, Codes):
            raise ValueError("this needs codes that can be decoded, and the algorithm has none; see capabilities.Codes")
        return self.algorithm


def offered(algorithm: Algorithm) -> dict[str, bool]:
    """Return the capabilities that metrics and pages may need -> whether the algorithm has them."""
    one = algorithm.domains == 1
    return {
        "codes": one and isinstance(algorithm, Codes),
        "encodes": one and isinstance(algorithm, Encodes),
        "encodes_long": one and isinstance(algorithm, EncodesLong),
        "draws_styles": isinstance(algorithm, DrawsStyles),
    }


def _finite(what: str, content: Tensor) -> Tensor:
    # Rounded to uint8, NaN would become black.
    if not torch.isfinite(content).all():
        bad = int((~torch.isfinite(content)).flatten(1).any(1).sum())
        raise RuntimeError(f"{bad} of {len(content)} {what} are not finite; the averaged networks are unusable")
    return content
