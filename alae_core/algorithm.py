"""The whole contract that an algorithm meets: networks, named updates, and samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from alae_core import random
from alae_core.schedule import Level

Networks = Mapping[str, nn.Module]


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

    @property
    def device(self) -> torch.device:
        return self.images[0].device

    @property
    def size(self) -> int:
        return self.rows.stop - self.rows.start

    def noise(self, name: str, *shape: int) -> Tensor:
        """Standard normal [n, *shape], one draw per image."""
        return self._rows_of(random.normal, name, shape)

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Uniform in [0, 1), [n, *shape], one draw per image."""
        return self._rows_of(random.uniform, name, shape)

    def whole(self) -> "Batch":
        """The same names over the whole global batch, without images: for statistics every rank must agree on."""
        return replace(self, images=(self.images[0][:0],), rows=slice(0, self.level.batch_size))

    def _rows_of(self, draw: Callable[..., Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
        if self.rows.stop > self.level.batch_size:
            raise ValueError(
                f"rows {self.rows.start}..{self.rows.stop} lie beyond the {self.level.batch_size} of level.batch_size; "
                "give a level whose batch holds them"
            )
        # All rows are drawn and the wanted ones kept: cheap next to a convolution, and independent of the split.
        whole = (self.level.batch_size, *shape)
        return draw(whole, self.device, self.seed, self.nimg, self.update, name)[self.rows]


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimiser step of an iteration.

    `loss` gives raw named terms, each [n] or scalar; the step descends their sum weighted by `weights` (1 where absent).
    Only the networks in `trains` move; gradients may pass through the others. With `every` = k the update runs at every
    k-th iteration, its loss times k (lazy regularisation). `amp` False keeps it in float32.
    """

    name: str
    trains: tuple[str, ...]
    loss: Callable[[Batch], dict[str, Tensor]]
    weights: Mapping[str, float] = field(default_factory=dict)
    every: int = 1
    amp: bool = True


class Algorithm(Protocol):
    """What the engine, the checkpoint and the evaluation need of an algorithm."""

    networks: dict[str, nn.Module]
    """Every trainable thing, by its role."""
    averaged: tuple[str, ...]
    """The networks that get an averaged (EMA) copy."""
    domains: int
    """Image streams: 1, or 2 for translators."""

    def updates(self, nimg: int) -> tuple[Update, ...]:
        """The updates of the iteration at `nimg`, in order; pure."""
        ...

    def observe(self, batch: Batch) -> None:
        """Follow the training in buffers (such as the mean style), once per iteration, over the whole batch."""
        ...

    def generate(self, networks: Networks, batch: Batch, truncation: float = 1.0) -> Tensor:
        """New images [n, C, R, R] from the batch's noise; `truncation` below 1 keeps nearer to the mean image."""
        ...

    def reconstruct(self, networks: Networks, batch: Batch) -> Tensor:
        """The batch's images, encoded and decoded: [n, C, R, R]."""
        ...

    def mix(self, networks: Networks, sources: Batch, destinations: Batch) -> Tensor | None:
        """Each destination with the coarse styles of each source, [n_sources * n_destinations, C, R, R], or None."""
        ...
