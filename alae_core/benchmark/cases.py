"""What is timed: one level of one algorithm, and the iterations of a mode over it."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from alae_core.algorithms import CONFIGS, style_alae
from alae_core.benchmark.modes import Mode
from alae_core.benchmark.reference import Losses, Reference
from alae_core.benchmark.reference_weights import reference_of
from alae_core.ema import averaged_copies
from alae_core.engine import Engine
from alae_core.optim import AdamConfig
from alae_core.random import generator
from alae_core.schedule import ProgressiveSchedule
from alae_core.state import TrainState

SEED = 0
LAZY_R1_EVERY = 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """One level: its images, and the sizes of the networks it is a level of."""

    algorithm: str
    resolution: int
    batch: int
    final_resolution: int
    """Of the networks; at least `resolution`."""
    blend: float = 1.0
    base_channels: int = 64
    """At `final_resolution`, doubling downwards to `max_channels`."""
    max_channels: int = 256
    latent: int = 256
    channels: int = 3
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.algorithm not in CONFIGS:
            raise ValueError(f"--algorithms: {self.algorithm!r} is none of {', '.join(CONFIGS)}; give some of these")
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise ValueError(f"--resolutions: {self.resolution} is not a power of two from 8 on; give one, such as 32")
        if self.final_resolution < self.resolution:
            raise ValueError(
                f"--final-resolution={self.final_resolution} is below --resolutions {self.resolution}; give at least that"
            )

    def config(self, lazy_r1: bool = False) -> Any:
        """The algorithm's own Config at these sizes, with R1 at every iteration or lazily."""
        sizes = {
            "resolution": self.final_resolution,
            "base_channels": self.base_channels,
            "max_channels": self.max_channels,
            "latent": self.latent,
            "channels": self.channels,
        }
        config_class: Any = CONFIGS[self.algorithm]
        known = {field.name for field in fields(config_class)}
        config = config_class(**{name: size for name, size in sizes.items() if name in known})
        return _with_r1_every(config, LAZY_R1_EVERY if lazy_r1 else 1)

    def schedule(self) -> ProgressiveSchedule:
        """Levels from 4x4 up to this one; at `nimg` the last of them stands at `blend`."""
        levels = self.resolution.bit_length() - 2
        short = (0.001,) * (levels - 1)
        # The batch at `nimg` is the level's second, so that 2 batches of the fade are over at its end.
        fade_kimg = 2 * self.batch / self.blend / 1000 if self.blend < 1.0 else 0.0
        return ProgressiveSchedule(
            resolutions=tuple(4 * 2**index for index in range(levels)),
            stable_kimg=(*short, 8 * self.batch / 1000),
            fade_kimg=(*(0.0 for _ in short), fade_kimg),
            batch_size=(self.batch,),
            fade="linear",
        )

    @property
    def nimg(self) -> int:
        """Where every timed iteration stands: not at the start of the level, where the moments are cleared."""
        return self.schedule().segments[-1].start + self.batch

    def pixels(self, channels_last: bool) -> Tensor:
        """Random uint8 [batch, R, R, C]; laid out as such, or as [batch, C, R, R] is when contiguous."""
        shape = (self.batch, self.resolution, self.resolution, self.channels)
        draws = generator(self.device, SEED, "benchmark pixels")
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws, device=self.device)
        return pixels if channels_last else pixels.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """An iteration, and its share among the iterations of a run."""

    share: float
    run: Callable[[], object]


def phases(case: Case, mode: Mode) -> tuple[Phase, ...]:
    """Fresh networks in the mode, and the different iterations a run of them consists of; shares add up to 1."""
    if mode.form == "reference":
        plain, pixels = reference(case), case.pixels(channels_last=False).permute(0, 3, 1, 2)
        return (Phase(share=1.0, run=lambda: plain.train_iteration(pixels)),)
    state, pixels = fresh_state(case, mode), case.pixels(mode.channels_last)
    engine = Engine(schedule=case.schedule(), seed=SEED, precision=mode.precision, compile=mode.form == "compiled")

    def at(iteration: int) -> Callable[[], object]:
        def run() -> object:
            # Always at the same place: no level, blend or lazy update changes between two timed iterations.
            state.nimg, state.iteration = case.nimg, iteration
            return engine.train_iteration(state, (pixels,))

        return run

    every = max(update.every for update in state.algorithm.updates(case.nimg))
    if every == 1:
        return (Phase(share=1.0, run=at(0)),)
    return Phase(share=1 / every, run=at(0)), Phase(share=1 - 1 / every, run=at(1))


def has_reference(case: Case) -> bool:
    """Whether there is a plain form of the algorithm to compare with."""
    return CONFIGS[case.algorithm] is style_alae.Config


def fresh_state(case: Case, mode: Mode) -> TrainState:
    """Our networks, averages and optimizers, in the mode's memory format."""
    state = TrainState.build(case.config(mode.lazy_r1), SEED, AdamConfig(), case.device)
    if not mode.channels_last:
        for network in (*state.algorithm.networks.values(), *state.ema.values()):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return state


def reference(case: Case) -> Reference:
    """The plain form of the case, with the weights that ours start from."""
    config = case.config()
    state = TrainState.build(config, SEED, AdamConfig(), case.device)
    networks = reference_of(config, state.algorithm.networks)
    level = case.schedule().level_at(case.nimg)
    return Reference(
        losses=Losses(
            networks=networks,
            level=level.depth,
            blend=level.blend,
            r1_gamma=config.loss.r1_gamma,
        ),
        averages=averaged_copies(networks, networks),
        lr=level.lr,
        mixing_probability=config.mixing_probability,
        generator=generator(case.device, SEED, "benchmark reference"),
    )


def _with_r1_every(config: Any, every: int) -> Any:
    """The configuration with its field `r1_every`, of its own or in a part of it, at `every`."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name == "r1_every":
            return replace(config, r1_every=every)
        if is_dataclass(value) and any(inner.name == "r1_every" for inner in fields(value)):
            return replace(config, **{field.name: replace(value, r1_every=every)})  # type: ignore[type-var]
    raise ValueError(f"--algorithms: {config.kind} has no r1_every, so its iteration cannot be compared; leave it out")
