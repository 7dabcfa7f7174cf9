"""The networks under evaluation, and what can be asked of them: samples, reconstructions, translations, codes."""

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
        """Image streams: 1, or 2 of a translator."""
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
        """Real images [n, C, R, R] of the other domain in domain `to`, each by a style of its own where styles are drawn.

        Styles are named by `purpose` and by `number`, that of the batch; `style`, `count` and `shared` are those of
        `DrawsStyles.translate`, and none of an algorithm without styles. RuntimeError if one is not finite.
        """
        batch = self.batch(number, len(real), real, purpose, domain=1 - to)
        algorithm = self.algorithm
        if isinstance(algorithm, DrawsStyles):
            made = algorithm.translate(self.networks, batch, to, style, count=count, shared=shared)
        elif isinstance(algorithm, Translates):
            assert style is None and (count, shared) == (1, False), "one translation of an image"
            made = algorithm.translate(self.networks, batch, to)
        else:
            raise ValueError("the algorithm has one domain and translates nothing; name a run of two domains")
        return _finite("translations", made)

    @property
    def latent(self) -> int:
        """Length of z and w."""
        return self._codes.latent

    def mapped(self, z: Tensor) -> Tensor:
        """w [n, D] of z [n, D]."""
        return self._codes.mapped(self.networks, z)

    def encoded(self, batch: Batch) -> Tensor:
        """w [n, D] of the batch's images; only of an algorithm that `Encodes`."""
        assert isinstance(self.algorithm, Encodes), "asked only where codes of images can be had"
        return self.algorithm.embed(self.networks, batch)

    def encoded_long(self, batch: Batch) -> Tensor:
        """Long codes [n, hidden] of the batch's images; only of an algorithm that `EncodesLong`."""
        assert isinstance(self.algorithm, EncodesLong), "asked only where long codes can be had"
        return self.algorithm.embed_long(self.networks, batch)

    def decoded(self, codes: Tensor, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Images [n, C, R, R] of codes [n, D], or of styles [n, layers, D]; their noise is the batch's, as `sampling` says."""
        return _finite("images", self._codes.decode(self.networks, codes, batch, sampling))

    @property
    def styles(self) -> int:
        """Layers of the level that take a style each; 1 where an image has one code."""
        return self.algorithm.style_layers(self.level) if isinstance(self.algorithm, Styles) else 1

    @property
    def _codes(self) -> Codes:
        if not isinstance(self.algorithm, Codes):
            raise ValueError("the algorithm says of no code what image it makes, as this needs; see capabilities.Codes")
        return self.algorithm


def offered(algorithm: Algorithm) -> dict[str, bool]:
    """What metrics and pages may need of an algorithm, and whether it is there."""
    one = algorithm.domains == 1
    return {
        "codes": one and isinstance(algorithm, Codes),
        "encodes": one and isinstance(algorithm, Encodes),
        "encodes_long": one and isinstance(algorithm, EncodesLong),
        "draws_styles": isinstance(algorithm, DrawsStyles),
    }


def _finite(what: str, content: Tensor) -> Tensor:
    # Rounded to uint8, NaN would pass for black.
    if not torch.isfinite(content).all():
        bad = int((~torch.isfinite(content)).flatten(1).any(1).sum())
        raise RuntimeError(f"{bad} of {len(content)} {what} are not finite; the averaged networks are no good")
    return content
