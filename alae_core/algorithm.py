"""The whole contract that an algorithm meets: networks, named updates, and samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from alae_core import noise
from alae_core.schedule import Level

DOMAINS = ("a", "b")
"""The endings of the names of networks and terms, in the order of `Batch.images`."""

Networks = Mapping[str, nn.Module]
Terms = Mapping[str, Tensor]
"""Scalars by "update/term"."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The images of one update and the names of its noise.

    `images` holds one tensor per domain, each float32 [n, C, R, R] in [-1, 1]. `rows` are the positions of these images
    in the global batch, so that the noise of an image does not depend on which rank or micro-batch it falls into.
    """

    images: tuple[Tensor, ...]
    level: Level
    nimg: int
    seed: int
    rows: slice
    update: str = ""
    handed_on: dict[tuple[str, int], Tensor] = field(default_factory=dict, repr=False, compare=False)
    """What the iteration's updates leave to the later ones; see `hand_on`. It ends with the iteration."""

    @property
    def device(self) -> torch.device:
        return self.images[0].device

    @property
    def size(self) -> int:
        return self.rows.stop - self.rows.start

    def noise(self, name: str, *shape: int, shared: bool = False) -> Tensor:
        """Standard normal [n, *shape], one draw per image, or one for all if `shared`."""
        return self._draw(noise.normal, name, shape, shared)

    def uniform(self, name: str, *shape: int, shared: bool = False) -> Tensor:
        """Uniform in [0, 1), [n, *shape], one draw per image, or one for all if `shared`."""
        return self._draw(noise.uniform, name, shape, shared)

    def whole(self) -> "Batch":
        """The same names over the whole global batch, without images: for statistics every rank must agree on."""
        return replace(self, images=(self.images[0][:0],), rows=slice(0, self.level.batch_size))

    def hand_on(self, name: str, tensor: Tensor) -> None:
        """Leave a detached tensor of these rows to the later updates of the same iteration."""
        self.handed_on[name, self.rows.start] = tensor.detach()

    def handed(self, name: str) -> Tensor | None:
        """What an earlier update of the iteration handed on for the same rows; None if there was none."""
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
        # All rows are drawn and the wanted ones kept: cheap next to a convolution, and independent of the split.
        return draw((self.level.batch_size, *shape), *names)[self.rows]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How images are drawn from trained networks; the defaults are those of the metrics."""

    truncation: float | tuple[float, ...] = 1.0
    """psi, the pull towards the mean style; 1 is none. A number holds up to 32x32, a tuple gives each level from 4x4 up,
    and the levels beyond it are not truncated (StyleGAN, section B)."""
    mixing_probability: float = 0.0
    """Chance of an image to change its style at a random layer."""
    noise: Literal["random", "shared", "none"] = "random"
    """Each image's own noise, one draw for all images, or zero."""
    noise_layers: tuple[int, int] | None = None
    """The layers first <= i < stop that get noise, two to a level; None: all."""


PLAIN_SAMPLING = Sampling()
"""No truncation, no mixing, each image its own noise."""


class SamplingError(ValueError):
    """An algorithm has nothing that could follow an option of `Sampling`, as truncation without a mean style."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser step of an iteration.

    `loss` gives raw named terms, each [n] or scalar; the step descends their sum weighted by `weights` (1 where absent),
    and by `level_weights` where they follow the level. Only the networks in `trains` move; gradients may pass through the
    others. With `every` = k the update runs at every k-th iteration, its loss times k (lazy regularisation). `amp` False
    keeps it in float32. Updates share each network's Adam moments unless `moments` names a set of their own.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Batch], dict[str, Tensor]]
    weights: Mapping[str, float] = field(default_factory=dict)
    level_weights: Callable[[Level], Mapping[str, float]] | None = None
    """Weights at a level, also of its warm-up (`Level.seen`); pure. They replace those of `weights`."""
    every: int = 1
    amp: bool = True
    moments: str = ""

    def weights_at(self, level: Level) -> dict[str, float]:
        """The weights of the terms at a level; 1 where absent."""
        return {**self.weights, **(self.level_weights(level) if self.level_weights else {})}


class Algorithm(Protocol):
    """What the engine, the checkpoint and the evaluation need of an algorithm."""

    networks: dict[str, nn.Module]
    """Every trainable thing, by its role."""
    averaged: tuple[str, ...]
    """The networks that get an averaged (EMA) copy."""
    domains: int
    """Image streams: 1, or 2 for translators."""
    together: int
    """Images in a row of the batch whose statistics are taken together; 1 where images do not see each other."""

    observed: tuple[str, ...]
    """The terms, "update/term", whose means over the global batch `observe` is given."""

    def updates(self, nimg: int) -> tuple[Update, ...]:
        """The updates of the iteration at `nimg`, in order; pure."""
        ...

    def observe(self, batch: Batch, terms: Terms) -> None:
        """Follow the training in buffers (such as the mean style), once per iteration, over the whole batch.

        `terms` are the `observed` ones of the updates that were due, the same on every rank.
        """
        ...

    def generate(self, networks: Networks, batch: Batch, sampling: Sampling = PLAIN_SAMPLING) -> Tensor:
        """New images [n, C, R, R] from the batch's noise; raises SamplingError where `sampling` cannot be followed."""
        ...

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor | None:
        """The batch's images, encoded and decoded: [n, C, R, R]; None without an encoder."""
        ...

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Each destination with the coarse styles of each source, [n_sources * n_destinations, C, R, R], or None."""
        ...
