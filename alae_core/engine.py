"""One training iteration: the algorithm's updates with freezing, autocast, micro-batches, gradient averaging and steps.

A loss term or gradient that is not finite raises before the step.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from alae_core import fused, images, nonfinite, sync
from alae_core.algorithm import Batch, Update
from alae_core.ema import update_averages
from alae_core.optim import clear_moments, lazy_correction, optimizer_name, set_lr
from alae_core.schedule import Level, ProgressiveSchedule, at_level
from alae_core.state import TrainState

Metrics = dict[str, Tensor]


class NonFiniteError(RuntimeError):
    """A loss term or a gradient is not finite. Raised before the optimizer steps, on every rank."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Settings of the training iteration; everything that changes during training is in `TrainState`."""

    schedule: ProgressiveSchedule
    seed: int = 0
    ema_half_life_kimg: float = 10.0
    microbatch: tuple[int, ...] | None = None
    """Images per backward pass and rank, one value per level (the last repeats); None: the rank's whole share at once."""
    precision: Literal["fp32", "bf16"] = "fp32"
    flip: bool = False
    """Mirror each image horizontally with probability 0.5."""
    crop: float = 0.0
    """Largest random shift of each image along both axes, as a share of its side; borders are reflected."""
    enlarge: float = 1.0
    """Factor by which each image is enlarged before a random crop of the level's size; 1: neither."""
    compile: bool = False
    """Compile chains of pointwise operations into kernels: faster, equal up to rounding; needs a C++ compiler."""

    def train_iteration(self, state: TrainState, pixels: tuple[Tensor, ...]) -> Metrics:
        """Train on this rank's share of the batch at `state.nimg` and advance the state.

        `pixels`: one tensor per domain, uint8 [batch_size / ranks, R, R, C] at the level's resolution, on the training
        device. Returns the unweighted mean of each term over this rank's images by "update/term", as scalars on the device.
        Raises NonFiniteError before the step if a term or a gradient is not finite, ValueError for pixels of another shape.
        """
        with fused.enabled(self.compile):
            return self._train_iteration(state, pixels)

    def _train_iteration(self, state: TrainState, pixels: tuple[Tensor, ...]) -> Metrics:
        level = self.schedule.level_at(state.nimg)
        if level.index != state.level_index or (state.nimg and self.schedule.clears_moments_at(state.nimg)):
            for optimizer in state.optimizers.values():
                clear_moments(optimizer)
            state.level_index = level.index
        batch = self._prepare(state, level, pixels)
        metrics: Metrics = {}
        updates = state.algorithm.updates(state.nimg)
        for name, optimizer in state.optimizers.items():
            set_lr(optimizer, level.lr * lazy_correction(updates, name))
        for update in updates:
            if state.iteration % update.every == 0:
                metrics |= self._run(state, update, replace(batch, update=update.name))
        with torch.no_grad():
            due = {name: metrics[name] for name in state.algorithm.observed if name in metrics}
            state.algorithm.observe(replace(batch, update="observe").whole(), sync.average(due))
        update_averages(state.ema, state.algorithm.networks, level.batch_size, self.ema_half_life_kimg)
        state.nimg += level.batch_size
        state.iteration += 1
        return metrics

    def _prepare(self, state: TrainState, level: Level, pixels: tuple[Tensor, ...]) -> Batch:
        """Convert uint8 pixels to a batch in [-1, 1], randomly mirror, shift and crop it, and blend in the coarser level."""
        share, left = divmod(level.batch_size, sync.world_size())
        if left:
            raise ValueError(
                f"schedule.batch_size={level.batch_size} (level {level.index}) does not divide over "
                f"{sync.world_size()} ranks; use a multiple of them"
            )
        rows = slice(sync.rank() * share, (sync.rank() + 1) * share)
        for domain in pixels:
            if domain.shape[:3] != (share, level.resolution, level.resolution):
                raise ValueError(
                    f"a batch of shape {tuple(domain.shape)} came where [{share}, {level.resolution}, "
                    f"{level.resolution}, C] belongs (level {level.index}, {state.nimg} images)"
                )
        batch = Batch(
            images=tuple(images.to_float(domain) for domain in pixels),
            level=level,
            nimg=state.nimg,
            seed=self.seed,
            rows=rows,
            update="data",
        )
        prepared = []
        for index, domain in enumerate(batch.images):
            if self.flip:
                domain = images.flip_some(domain, batch.uniform(f"flip{index}"))
            if self.crop:
                domain = images.shift(domain, batch.uniform(f"crop{index}", 2), self.crop)
            if self.enlarge > 1:
                domain = images.cut_from_enlarged(domain, batch.uniform(f"cut{index}", 2), self.enlarge)
            prepared.append(images.blend_with_coarser(domain, level.blend))
        return replace(batch, images=tuple(prepared))

    def _run(self, state: TrainState, update: Update, batch: Batch) -> Metrics:
        for name, network in state.algorithm.networks.items():
            network.requires_grad_(name in update.trains)
        optimizers = [state.optimizers[optimizer_name(role, update.moments)] for role in update.trains]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        terms = self._accumulate(state, update, batch)
        parameters = [p for name in update.trains for p in state.algorithm.networks[name].parameters()]
        _spoil_if_not_finite(parameters, terms)
        sync.average_gradients(parameters)
        self._refuse_non_finite(state, update, batch, terms, parameters)
        for optimizer in optimizers:
            optimizer.step()
        return {f"{update.name}/{term}": value for term, value in terms.items()}

    def _accumulate(self, state: TrainState, update: Update, batch: Batch) -> Metrics:
        """Accumulate gradients over the micro-batches; returns the mean of each term over the rank's images."""
        size = self._microbatch_size(state, batch)
        weights = update.weights_at(batch.level)
        totals: Metrics = {}
        for start in range(0, batch.size, size):
            part = _slice(batch, start, min(start + size, batch.size))
            share = part.size / batch.size
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=self.precision == "bf16" and update.amp):
                terms = {name: _at_least_float32(term).mean() for name, term in update.loss(part).items()}
            unknown = sorted(weights.keys() - terms.keys())
            if unknown:
                raise ValueError(f"{update.name} weighs unknown terms {unknown}; its terms are {sorted(terms)}")
            loss = sum(weights.get(name, 1.0) * term for name, term in terms.items())
            (loss * (share * update.every)).backward()  # type: ignore[union-attr]
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + term.detach() * share
        return totals

    def _microbatch_size(self, state: TrainState, batch: Batch) -> int:
        size = at_level(self.microbatch, batch.level.index) if self.microbatch else batch.size
        together = state.algorithm.together
        if size % together or batch.size % together:
            raise ValueError(
                f"{batch.size} images per rank in parts of {size} do not keep groups of {together} whole, as this "
                f"algorithm's batch statistics need; make both multiples of {together}"
            )
        return size

    def _refuse_non_finite(
        self, state: TrainState, update: Update, batch: Batch, terms: Metrics, parameters: list[torch.nn.Parameter]
    ) -> None:
        norms = torch._foreach_norm([p.grad for p in parameters if p.grad is not None])
        checks = {**terms, "gradient": torch.stack(norms).sum()}
        # Costs one wait for the device per update; without it a step could use a gradient that is not finite.
        finite = torch.isfinite(torch.stack(list(checks.values()))).tolist()
        for name, good in zip(checks, finite, strict=True):
            if not good:
                place = nonfinite.place(state.algorithm.networks, lambda: self._accumulate(state, update, batch))
                raise NonFiniteError(
                    f"{update.name}/{name} is not finite at {state.nimg / 1000:,.3f} kimg (level {batch.level.index}, "
                    f"{batch.level.resolution}px) on rank {sync.rank()}: {place}"
                )


def _spoil_if_not_finite(parameters: list[torch.nn.Parameter], terms: Metrics) -> None:
    """Make the gradients non-finite if a term is, so that every rank raises and none waits for the others.

    A term can overflow while its gradient stays finite, as the square of a large value does.
    """
    gradient = next(p.grad for p in parameters if p.grad is not None)
    gradient.add_(torch.stack(list(terms.values())).mul(0.0).sum())


def _at_least_float32(term: Tensor) -> Tensor:
    return term.to(torch.promote_types(term.dtype, torch.float32))


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    first = batch.rows.start
    images_part = tuple(domain[start:stop] for domain in batch.images)
    return replace(batch, images=images_part, rows=slice(first + start, first + stop))
