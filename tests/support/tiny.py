"""Every preset shrunk to a dozen iterations on random images, for the tests of training."""

import io
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core import sync
from alae_core.engine import Engine, Metrics
from alae_core.noise import named_seed
from alae_core.state import TrainState
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.runs import checkpoint, layout
from tests.support.tensors import flat

BATCH = 8
STABLE = 3 * BATCH
"""Images of level 0, of the fade of each later level, and of the phase after the fade."""


NO_CHOICE = ("0.channels.",)
"""Settings whose values never select another computation."""


def experiments() -> dict[str, Experiment]:
    """Shrunk presets and a `_compat` form by name, without those whose choices other presets of their algorithm cover.

    So every word, switch and zero in a preset is tested with its algorithm, but not every combination of them.
    The environment variable ALAE_PRESETS selects others, separated by commas.
    """
    given = os.environ.get("ALAE_PRESETS")
    kept: dict[str, Experiment] = {}
    tested: set[tuple[str, str, Any]] = set()
    for name in given.split(",") if given else (*presets.names(), "celeba128_style_alae_compat"):
        small = brief(presets.load(name))
        parts = [asdict(part) for part in (cast(Any, small.algorithm), small.schedule, small.training)]
        own = {
            (small.algorithm.kind, path, _choice(value)) for path, value in flat(parts).items() if path not in NO_CHOICE
        }
        if not own <= tested:
            kept[name] = small
            tested |= own
    return kept


def _choice(value: Any) -> Any:
    """Part of a setting that can select another computation: a word or switch, or whether a value is 0 or, if int, 1."""
    if isinstance(value, (bool, str)) or value is None:
        return str(value)
    return min(value, 2) if isinstance(value, int) else value != 0


def variants(names: Iterable[str]) -> set[str]:
    """All experiments except the first of each algorithm."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(presets.load(name).algorithm.kind, name)
    return set(names) - set(first.values())


def brief(experiment: Experiment) -> Experiment:
    """The experiment's `tiny()` with phases of three iterations."""
    small = experiment.tiny()
    kimg = (STABLE / 1000,)
    schedule = replace(small.schedule, stable_kimg=kimg, fade_kimg=kimg, batch_size=(BATCH,))
    return replace(small, schedule=schedule)


def build(experiment: Experiment, seed: int | None = None) -> TrainState:
    """A new state of the experiment, or of another seed."""
    training = experiment.training
    return TrainState.build(
        experiment.algorithm,
        experiment.seed if seed is None else seed,
        training.optimizer,
        averages_from=training.averages_from,
    )


def engine(experiment: Experiment, **changes: Any) -> Engine:
    """The engine of the experiment with flips and shifts, so that they are tested too."""
    settings: dict[str, Any] = {
        "schedule": experiment.schedule,
        "seed": experiment.seed,
        "ema_half_life_kimg": experiment.training.ema_half_life_kimg,
        "flip": True,
        "crop": 0.25,
    }
    return Engine(**(settings | changes))


def pixels(experiment: Experiment, nimg: int) -> tuple[Tensor, ...]:
    """This rank's random images at a position of the stream, one tensor per domain."""
    level = experiment.schedule.level_at(nimg)
    shape = (level.batch_size, level.resolution, level.resolution, experiment.algorithm.channels)
    share = level.batch_size // sync.world_size()
    rows = slice(sync.rank() * share, (sync.rank() + 1) * share)
    return tuple(torch.from_numpy(_noise(shape, nimg, domain)[rows]) for domain in range(experiment.domains))


def train(state: TrainState, experiment: Experiment, until: int, **changes: Any) -> list[Metrics]:
    """Train to image `until`, and return the metrics of each iteration."""
    runner = engine(experiment, **changes)
    found = []
    while state.nimg < until:
        found.append(runner.train_iteration(state, pixels(experiment, state.nimg)))
    return found


def saved(state: TrainState) -> bytes:
    """Return the state as the bytes of a file."""
    file = io.BytesIO()
    torch.save(state.state_dict(), file)
    return file.getvalue()


def restored(experiment: Experiment, file: bytes) -> TrainState:
    """Load a file into a state that started from other weights."""
    state = build(experiment, seed=experiment.seed + 1)
    state.load_state_dict(torch.load(io.BytesIO(file), weights_only=True))
    return state


def checkpointed(run: Path, state: TrainState, experiment: Experiment) -> Path:
    """Write a finished checkpoint of the state into a run's folder."""
    folder = run / layout.checkpoint_name(state.nimg)
    folder.mkdir(parents=True)
    checkpoint.write(state, experiment, folder, None)
    return folder


def _noise(shape: tuple[int, ...], *parts: int) -> NDArray[np.uint8]:
    return np.random.default_rng(named_seed("pixels", *parts)).integers(0, 256, shape, np.uint8)
