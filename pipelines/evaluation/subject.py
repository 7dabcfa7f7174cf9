"""The networks under evaluation, and what can be asked of them: samples, reconstructions, translations, codes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from alae_core import latents
from alae_core.algorithm import PLAIN_SAMPLING, Algorithm, Batch, Networks, Sampling
from alae_core.algorithms.style_synthesis import layers_of
from alae_core.layers import pixel_norm
from alae_core.schedule import Level
from pipelines.evaluation.features.extractor import batches, most_at_once


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The networks at the level their checkpoint was trained at; all noise is named by `seed` and the batch's number."""

    algorithm: Algorithm
    networks: Networks
    level: Level
    channels: int
    seed: int

    def batch(
        self, number: int, count: int, real: Tensor | None = None, purpose: str = "evaluate", domain: int = 0
    ) -> Batch:
        """`count` images of the evaluation, the `number`-th such batch; `real`: [count, C, R, R] of the domain, and no other.

        The noise of an image does not depend on `count`, so that fewer images are the first of more.
        """
        size = self.level.resolution
        shown = torch.zeros(count, self.channels, size, size) if real is None else real
        images = tuple(shown if own == domain else shown[:0] for own in range(self.domains))
        level = replace(self.level, batch_size=max(most_at_once(size), count))
        return Batch(images=images, level=level, nimg=number, seed=self.seed, rows=slice(0, count), update=purpose)

    def generate(self, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """New images [n, C, R, R]; RuntimeError if one is not finite."""
        return _finite("generated images", self.algorithm.generate(self.networks, batch, sampling))

    def samples(self, count: int, sampling: Sampling = PLAIN_SAMPLING) -> Iterator[Tensor]:
        """`count` generated images, [n, C, R, R] at a time; RuntimeError if one is not finite."""
        for number, size in enumerate(batches(count, self.level.resolution)):
            yield self.generate(self.batch(number, size), sampling)

    def reconstruction(self, real: Tensor, domain: int = 0) -> Tensor | None:
        """[n, C, R, R], encoded and decoded within the domain; None without an encoder; RuntimeError if one is not finite."""
        algorithm: Any = self.algorithm
        within = (domain,) if self.domains > 1 else ()
        parts = []
        for part in real.split(batches(len(real), self.level.resolution)):
            batch = self.batch(0, len(part), part, domain=domain)
            reconstructed = algorithm.reconstruct(self.networks, batch, *within)
            if reconstructed is None:
                return None
            parts.append(reconstructed)
        return _finite("reconstructions", torch.cat(parts))

    # Of translators.

    @property
    def domains(self) -> int:
        """Image streams: 1, or 2 of a translator."""
        return getattr(self.algorithm, "domains", 1)

    @property
    def draws_styles(self) -> bool:
        """Whether an image has many translations, each by a style; else it has one."""
        return draws_styles(self.algorithm)

    def translated(self, real: Tensor, to: int, number: int, purpose: str = "translations", **how: Any) -> Tensor:
        """Real images [n, C, R, R] of the other domain in domain `to`, each by a style of its own where styles are drawn.

        Styles are named by `purpose` and by `number`, that of the batch; `how` is the algorithm's own, as `style` or `count`.
        RuntimeError if one is not finite.
        """
        algorithm: Any = self.algorithm
        batch = self.batch(number, len(real), real, purpose, domain=1 - to)
        return _finite("translations", algorithm.translate(self.networks, batch, to, **how))

    # Codes: what path lengths, reciprocity, interpolation and editing need of an algorithm of the family.

    @property
    def latent(self) -> int:
        """Length of z and w."""
        algorithm: Any = self.algorithm
        return self._synthesis.latent if self._synthesis else algorithm.latent

    @property
    def encodes(self) -> bool:
        """Whether codes of real images can be had."""
        return hasattr(self.algorithm, "embed")

    @property
    def encodes_long(self) -> bool:
        """Whether it has long codes too."""
        return encodes_long(self.algorithm)

    def mapped(self, z: Tensor) -> Tensor:
        """w [n, D] of z [n, D]: what the algorithm says it is; or else the normalised z without a mapping."""
        algorithm: Any = self.algorithm
        if hasattr(algorithm, "mapped"):
            return algorithm.mapped(self.networks, z)
        return self.networks["mapping"](z) if "mapping" in self.networks else pixel_norm(z)

    def encoded(self, batch: Batch) -> Tensor:
        """w [n, D] of the batch's images; only where it `encodes`."""
        algorithm: Any = self.algorithm
        return algorithm.embed(self.networks, batch)

    def encoded_long(self, batch: Batch) -> Tensor:
        """Long codes [n, hidden] of the batch's images, the layer before the code; only where it `encodes_long`."""
        encoder: Any = self.networks["encoder"]
        return encoder.features(batch.images[0])

    def decoded(self, codes: Tensor, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Images [n, C, R, R] of codes [n, D], or of styles [n, layers, D]; their noise is the batch's, as `sampling` says."""
        algorithm: Any = self.algorithm
        if self._synthesis is None and hasattr(algorithm, "decode"):
            return _finite("images", algorithm.decode(self.networks, codes, batch))
        if self._synthesis is None:
            return _finite("images", self.networks["generator"](codes))
        styles = latents.broadcast_styles(codes, layers_of(batch)) if codes.ndim == 2 else codes
        return _finite("images", self._synthesis.decode(self.networks, styles, batch, sampling))

    @property
    def styles(self) -> int:
        """Layers of the level that take a style each; 1 where an image has one code."""
        return 1 if self._synthesis is None else layers_of(self.batch(0, 1))

    @property
    def _synthesis(self) -> Any:
        return getattr(self.algorithm, "synthesis", None)


def encodes_long(algorithm: Algorithm) -> bool:
    """Whether the layer before the code can be had of real images."""
    return hasattr(algorithm, "embed") and hasattr(algorithm.networks.get("encoder"), "features")


def draws_styles(algorithm: Algorithm) -> bool:
    """Whether a translator has many translations of an image."""
    return hasattr(algorithm, "style_of")


def _finite(what: str, content: Tensor) -> Tensor:
    # Rounded to uint8, NaN would pass for black.
    if not torch.isfinite(content).all():
        bad = int((~torch.isfinite(content)).flatten(1).any(1).sum())
        raise RuntimeError(f"{bad} of {len(content)} {what} are not finite; the averaged networks are no good")
    return content
