"""Timed cases: one level of one algorithm, and the iterations of a mode at this level."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from alae_core.algorithms import CONFIGS, style_alae
from alae_core.ema import averaged_copies
from alae_core.engine import Engine
from alae_core.noise import generator
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from alae_core.state import TrainState
from benchmarks.step import (
    reference_munit,
    reference_nice_gan,
    reference_translator,
    reference_vae,
    reference_vae_networks,
    reference_weights,
)
from benchmarks.step.modes import REFERENCE, Mode
from benchmarks.step.reference import Losses, Reference
from benchmarks.step.reference_translator import TranslatorReference

SEED = 0
LAZY_R1_EVERY = 16
VAE_LR = 2e-4
"""Learning rate of the introspective VAEs; at higher rates their KL overflows within the timed iterations."""
MARGIN = 120.0
"""Margin of the KL in nats, IntroVAE's at 256 px."""
TRANSLATOR_LR = 1e-4
TRANSLATORS: dict[str, tuple[Any, type[TranslatorReference]]] = {
    "munit": (reference_munit.fresh, reference_munit.MunitReference),
    "nice_gan": (reference_nice_gan.fresh, reference_nice_gan.NiceGanReference),
}
"""Kind of an algorithm -> builder of its plain networks, and its plain iteration."""
FEWER_LAYERS_BELOW = 96
"""Resolution in pixels below which NICE-GAN's classifiers have one layer less."""
GROUP = 8
"""Consecutive images whose mean KL enters IntroVAE's hinge; a divisor of it if the batch is not a multiple."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One level: the size of its images, and the sizes of the networks."""

    algorithm: str
    resolution: int
    batch: int
    final_resolution: int
    """Resolution of the complete networks, at least `resolution`."""
    blend: float = 1.0
    base_channels: int = 64
    """Channels at `final_resolution`, doubled at each lower level, up to `max_channels`."""
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
        if self.translates:
            if self.final_resolution != self.resolution or self.blend < 1.0:
                raise ValueError(
                    f"--algorithms: {self.algorithm} has one level; leave out --final-resolution and --fade"
                )
            self.config()  # not every size can be

    @property
    def translates(self) -> bool:
        """Whether it takes images of two domains."""
        return self.algorithm in TRANSLATORS

    def config(self, lazy_r1: bool = False) -> Any:
        """The algorithm's own Config at these sizes, with R1 at every iteration or lazily."""
        sizes = {
            "resolution": self.final_resolution,
            "base_channels": self.base_channels,
            "max_channels": self.max_channels,
            "latent": self.latent,
            "channels": self.channels,
            "group": math.gcd(GROUP, self.batch),
            "first_resolution": None if self.final_resolution == self.resolution else 4,
        }
        if self.translates:
            # Styles keep the length that the algorithm defines.
            del sizes["latent"]
            sizes["discriminator_layers"] = 6 if self.resolution < FEWER_LAYERS_BELOW else 7
        config_class: Any = CONFIGS[self.algorithm]
        known = {field.name for field in fields(config_class)}
        config = config_class(**{name: size for name, size in sizes.items() if name in known})
        return _beyond_warmup(_with_r1_every(config, LAZY_R1_EVERY if lazy_r1 else 1))

    @property
    def adam(self) -> AdamConfig:
        """Adam as in the algorithm's official code."""
        if self.translates:
            return AdamConfig(beta1=0.5, beta2=0.999, weight_decay=1e-4)
        return AdamConfig(beta1=0.9, beta2=0.999) if self.algorithm in reference_vae.METHODS else AdamConfig()

    @property
    def lr(self) -> float:
        """Learning rate of the algorithm's official code, or one with which nothing overflows."""
        if self.translates:
            return TRANSLATOR_LR
        return VAE_LR if self.algorithm in reference_vae.METHODS else 0.0015

    def schedule(self) -> ProgressiveSchedule:
        """Schedule of the levels from 4x4 up to this one, or of this one only; at `nimg` the last level has `blend`."""
        levels = 1 if self.translates else self.resolution.bit_length() - 2
        short = (0.001,) * (levels - 1)
        # The batch at `nimg` is the second of its level, so 2 batches of the fade-in are over at its end.
        fade_kimg = 2 * self.batch / self.blend / 1000 if self.blend < 1.0 else 0.0
        return ProgressiveSchedule(
            resolutions=tuple(self.resolution // 2**index for index in reversed(range(levels))),
            stable_kimg=(*short, 8 * self.batch / 1000),
            fade_kimg=(*(0.0 for _ in short), fade_kimg),
            batch_size=(self.batch,),
            lr=(self.lr,),
            fade="linear",
        )

    @property
    def nimg(self) -> int:
        """Where every timed iteration stands: not at the start of the level, where the moments are cleared."""
        return self.schedule().segments[-1].start + self.batch

    def domains(self, channels_last: bool) -> tuple[Tensor, ...]:
        """The `pixels` of each domain."""
        return tuple(self.pixels(channels_last, index) for index in range(2 if self.translates else 1))

    def pixels(self, channels_last: bool, domain: int = 0) -> Tensor:
        """Random uint8 [batch, R, R, C]; laid out as such, or as [batch, C, R, R] is when contiguous."""
        shape = (self.batch, self.resolution, self.resolution, self.channels)
        draws = generator(self.device, SEED, "benchmark pixels", *([domain] if domain else []))
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws, device=self.device)
        return pixels if channels_last else pixels.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Kind of iteration, and its share of a run's iterations."""

    share: float
    run: Callable[[], object]


def phases(case: Case, mode: Mode) -> tuple[Phase, ...]:
    """Kinds of iterations of a run in the mode, over new networks; their shares add up to 1."""
    if mode.form == "reference":
        plain, shown = reference(case), [pixels.permute(0, 3, 1, 2) for pixels in case.domains(channels_last=False)]
        given: Any = tuple(shown) if case.translates else shown[0]
        return (Phase(share=1.0, run=lambda: plain.train_iteration(given)),)
    state, domains = fresh_state(case, mode), case.domains(mode.channels_last)
    engine = Engine(schedule=case.schedule(), seed=SEED, precision=mode.precision, compile=mode.form == "compiled")

    def at(iteration: int) -> Callable[[], object]:
        def run() -> object:
            # Always at the same place: no level, blend or lazy update changes between two timed iterations.
            state.nimg, state.iteration = case.nimg, iteration
            return engine.train_iteration(state, domains)

        return run

    every = max(update.every for update in state.algorithm.updates(case.nimg))
    if every == 1:
        return (Phase(share=1.0, run=at(0)),)
    return Phase(share=1 / every, run=at(0)), Phase(share=1 - 1 / every, run=at(1))


def applicable(case: Case, modes: Iterable[Mode]) -> tuple[Mode, ...]:
    """Modes that apply to the case: lazy modes need R1, and not every algorithm has a plain form."""
    lazy = _has_r1(case.config())
    return tuple(mode for mode in modes if (lazy or not mode.lazy_r1) and (mode != REFERENCE or has_reference(case)))


def has_reference(case: Case) -> bool:
    """Whether the case has a plain form; for VAEs only at the full resolution of the networks."""
    if case.algorithm in reference_vae.METHODS:
        return case.resolution == case.final_resolution and case.blend == 1.0
    return case.translates or CONFIGS[case.algorithm] is style_alae.Config


def fresh_state(case: Case, mode: Mode) -> TrainState:
    """Our networks, averages and optimizers, in the mode's memory format."""
    state = TrainState.build(case.config(mode.lazy_r1), SEED, case.adam, case.device)
    if not mode.channels_last:
        for network in (*state.algorithm.networks.values(), *state.ema.values()):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return state


def reference(case: Case) -> Reference | reference_vae.VaeReference | TranslatorReference:
    """Plain form of the case, with the initial weights of our form."""
    config, draws = case.config(), generator(case.device, SEED, "benchmark reference")
    algorithm = TrainState.build(config, SEED, case.adam, case.device).algorithm
    ours, level = algorithm.networks, case.schedule().level_at(case.nimg)
    if case.translates:
        fresh, method = TRANSLATORS[case.algorithm]
        networks = reference_translator.reference_of(fresh, config, ours)
        return method(
            networks=networks,
            averages=averaged_copies(networks, algorithm.averaged),
            config=config,
            lr=level.lr,
            adam=case.adam,
            draws=draws,
        )
    if case.algorithm in reference_vae.METHODS:
        networks = reference_vae_networks.reference_of(config, ours)
        return reference_vae.METHODS[case.algorithm](
            **networks,
            averages=averaged_copies(networks, networks),
            config=config,
            lr=level.lr,
            betas=(case.adam.beta1, case.adam.beta2),
            draws=draws,
        )
    networks = reference_weights.reference_of(config, ours)
    return Reference(
        losses=Losses(networks=networks, level=level.depth, blend=level.blend, r1_gamma=config.loss.r1_gamma),
        averages=averaged_copies(networks, networks),
        lr=level.lr,
        mixing_probability=config.mixing_probability,
        generator=draws,
    )


def _beyond_warmup(config: Any) -> Any:
    """The configuration without a warm-up, which has no fakes, and with a margin, which a warm-up would measure."""
    changes: dict[str, Any] = {"warmup_kimg": (0.0,), "margin": (MARGIN,)}
    known = {name: change for name, change in changes.items() if hasattr(config.loss, name)}
    return replace(config, loss=replace(config.loss, **known)) if known else config


def _has_r1(config: Any) -> bool:
    return hasattr(config.loss, "r1_every")


def _with_r1_every(config: Any, every: int) -> Any:
    """The configuration with R1 every `every` iterations, if it has R1."""
    return replace(config, loss=replace(config.loss, r1_every=every)) if _has_r1(config) else config
