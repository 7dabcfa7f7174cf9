"""The interface of an algorithm: networks, named updates, and samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from alae_core import noise
from alae_core.schedule import Level

DOMAINS = ("a", "b")
"""Suffixes of the names of networks and terms, in the order of `Batch.images`."""

Networks = Mapping[str, nn.Module]
Terms = Mapping[str, Tensor]
"""Scalars by their names "update/term"."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images of one update, and the names under which its noise is drawn.

    `images` holds one tensor per domain, each float32 [n, C, R, R] in [-1, 1]. `rows` are the positions of these images
    in the global batch, so the noise of an image does not depend on its rank or micro-batch.
    """

    images: tuple[Tensor, ...]
    level: Level
    nimg: int
    seed: int
    rows: slice
    update: str = ""
    handed_on: dict[tuple[str, int], Tensor] = field(default_factory=dict, repr=False, compare=False)
    """Tensors that updates pass to later updates of the same iteration; see `hand_on`."""

    @property
    def device(self) -> torch.device:
        return self.images[0].device

    @property
    def size(self) -> int:
        return self.rows.stop - self.rows.start

    def noise(self, name: str, *shape: int, shared: bool = False) -> Tensor:
        """Standard normal noise [n, *shape], one draw per image, or one draw for all if `shared`."""
        return self._draw(noise.normal, name, shape, shared)

    def uniform(self, name: str, *shape: int, shared: bool = False) -> Tensor:
        """Uniform noise in [0, 1), [n, *shape], one draw per image, or one draw for all if `shared`."""
        return self._draw(noise.uniform, name, shape, shared)

    def whole(self) -> "Batch":
        """Batch with the same names over all rows of the global batch, without images: its noise is equal on all ranks."""
        return replace(self, images=(self.images[0][:0],), rows=slice(0, self.level.batch_size))

    def hand_on(self, name: str, tensor: Tensor) -> None:
        """Pass a tensor of these rows, detached, to later updates of the same iteration."""
        self.handed_on[name, self.rows.start] = tensor.detach()

    def handed(self, name: str) -> Tensor | None:
        """Tensor that an earlier update of the iteration passed on for the same rows; None if there is none."""
        return self.handed_on.get((name, self.rows.start))

    def _draw(self, draw: Callable[..., Tensor], name: str, shape: tuple[int, ...], shared: bool) -> Tensor:
        names = (self.device, self.seed, self.nimg, self.update, name)
        if shared:
            return draw((1, *shape), *names).expand(self.size, *shape)
        if self.rows.stop > self.level.batch_size:
            raise ValueError(
                f"rows {self.rows.start}..{self.rows.stop} lie beyond the {self.level.batch_size} of level.batch_size; "
                "give a level whose batch holds them"
            )
        # Draws all rows and keeps the wanted ones: cheap beside a convolution, and independent of the split.
        return draw((self.level.batch_size, *shape), *names)[self.rows]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Options for drawing images from trained networks; the defaults are those of the metrics."""

    truncation: float | tuple[float, ...] = 1.0
    """Truncation psi; 1 is none. A single value applies to the levels up to 32x32; a tuple has one value for each level from
    4x4 up, and the levels beyond it are not truncated (StyleGAN, appendix B)."""
    mixing_probability: float = 0.0
    """Probability that an image changes its style at a random layer."""
    noise: Literal["random", "shared", "none"] = "random"
    """Noise of the generator's layers: drawn per image, one draw for all images, or zero."""
    noise_layers: tuple[int, int] | None = None
    """Layers first <= i < stop that get noise, two per level; None: all."""


PLAIN_SAMPLING = Sampling()
"""No truncation, no mixing, random noise for each image."""


class SamplingError(ValueError):
    """The algorithm does not support an option of `Sampling`, such as truncation without a mean style."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser step of an iteration.

    `loss` returns named terms, each [n] or scalar. The step minimises their sum weighted by `weights` (1 if absent) or, for
    weights that depend on the level, by `level_weights`. Only the networks in `trains` are updated; gradients may pass
    through the others. With `every` = k the update runs at every k-th iteration with its loss times k (lazy
    regularisation). `amp` = False keeps it in float32. Updates share each network's Adam moments, unless `moments` names a
    separate set.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Batch], dict[str, Tensor]]
    weights: Mapping[str, float] = field(default_factory=dict)
    level_weights: Callable[[Level], Mapping[str, float]] | None = None
    """Pure function from a level, with its warm-up (`Level.seen`), to weights that replace those of `weights`."""
    every: int = 1
    amp: bool = True
    moments: str = ""

    def weights_at(self, level: Level) -> dict[str, float]:
        """Weights of the terms at a level; a term that is absent weighs 1."""
        return {**self.weights, **(self.level_weights(level) if self.level_weights else {})}


class Algorithm(Protocol):
    """Interface that the engine, checkpoints and evaluation require of an algorithm."""

    networks: dict[str, nn.Module]
    """All trainable networks, by role."""
    averaged: tuple[str, ...]
    """Roles of the networks that get an EMA copy."""
    domains: int
    """Number of image streams: 1, or 2 for translators."""
    together: int
    """Size of the groups of consecutive images that share batch statistics; 1 if images do not affect each other."""

    observed: tuple[str, ...]
    """Terms, as "update/term", whose means over the global batch are passed to `observe`."""

    def updates(self, nimg: int) -> tuple[Update, ...]:
        """Updates of the iteration at `nimg`, in order; pure."""
        ...

    def observe(self, batch: Batch, terms: Terms) -> None:
        """Update buffers such as the mean style, once per iteration, from the noise of the global batch.

        `terms` are the `observed` ones of the updates that ran, equal on all ranks.
        """
        ...

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """Generate images [n, C, R, R] from the batch's noise; raises SamplingError for options it does not support."""
        ...

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor | None:
        """Encode and decode the batch's images: [n, C, R, R]; None without an encoder."""
        ...

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Render each destination with the coarse styles of each source: [n_sources * n_destinations, C, R, R].

        None if the algorithm has no styles.
        """
        ...
