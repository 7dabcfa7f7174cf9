"""Loss curves over 2,000 iterations of StyleALAE's plain form, our form, and our compiled form, for three seeds.

For a seed all three start from the same weights and read the same digits in the same order, but the plain form draws its own
noise. Two forms are equivalent if their curves differ by no more than the curves of one form differ between seeds.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alae_core import images
from alae_core.algorithms import style_alae
from alae_core.ema import averaged_copies
from alae_core.engine import Engine
from alae_core.noise import generator
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from alae_core.state import TrainState
from benchmarks.step.reference import Losses, Reference
from benchmarks.step.reference_weights import reference_of
from pipelines.sources import DIGITS
from pipelines.sources.arrays import open_digits

RESOLUTION, BATCH, LR = 8, 16, 0.002
CONFIG = style_alae.Config(
    resolution=RESOLUTION,
    channels=1,
    latent=32,
    base_channels=16,
    max_channels=32,
    mapping_layers=4,
    rgb_gain=0.3,
    mixing_probability=0.0,  # The plain form draws one mixing cut per batch, like the official code; ours draws one per image.
)
FORMS = ("plain", "ours", "compiled")
WINDOW = 200
Iteration = Callable[[Tensor], dict[str, Tensor]]


def iteration_of(form: str, seed: int) -> Iteration:
    """Trains on uint8 [N, R, R, C] and returns the mean of each term."""
    state = TrainState.build(CONFIG, seed, AdamConfig())
    if form == "plain":
        networks = reference_of(CONFIG, state.algorithm.networks)
        reference = Reference(
            losses=Losses(networks=networks, level=1, blend=1.0, r1_gamma=CONFIG.loss.r1_gamma),
            averages=averaged_copies(networks, networks),
            lr=LR,
            mixing_probability=CONFIG.mixing_probability,
            generator=generator("cpu", seed, "plain"),
        )
        return lambda pixels: reference.train_iteration(pixels.permute(0, 3, 1, 2).contiguous())
    schedule = ProgressiveSchedule(resolutions=(RESOLUTION,), stable_kimg=(1000.0,), batch_size=(BATCH,), lr=(LR,))
    engine = Engine(schedule=schedule, seed=seed, compile=form == "compiled")
    return lambda pixels: engine.train_iteration(state, (pixels,))


def curve(form: str, seed: int, digits: Tensor, iterations: int) -> dict[str, list[float]]:
    """Means of each term over windows of iterations."""
    iteration, order = iteration_of(form, seed), np.random.default_rng(seed)
    sums: dict[str, list[float]] = {}
    began = time.process_time()
    for number in range(iterations):
        rows = torch.from_numpy(order.integers(0, len(digits), BATCH))
        for name, value in iteration(digits[rows]).items():
            windows = sums.setdefault(name, [0.0] * math.ceil(iterations / WINDOW))
            windows[number // WINDOW] += float(value) / WINDOW
    print(f"{form} seed {seed}: {time.process_time() - began:.0f} CPU s", flush=True)
    return sums


def table(curves: dict[str, dict[int, dict[str, list[float]]]]) -> str:
    """Table with a row per term: the mean of each form over the second half, and the largest difference between forms.

    Differences are in standard deviations between seeds.
    """
    lines = [f"| term | {' | '.join(curves)} | seeds' deviation | forms differ by |", "|---" * (len(curves) + 3) + "|"]
    first = next(iter(curves.values()))
    for name in next(iter(first.values())):
        values = {
            form: np.array([np.mean(c[name][len(c[name]) // 2 :]) for c in seeds.values()])
            for form, seeds in curves.items()
        }
        deviation = float(np.sqrt(np.mean([v.var(ddof=1) for v in values.values()])))
        means = {form: float(v.mean()) for form, v in values.items()}
        gap = max(means.values()) - min(means.values())
        cells = " | ".join(f"{means[form]:.4f}" for form in curves)
        lines.append(f"| {name} | {cells} | {deviation:.4f} | {gap / deviation:.2f} deviations |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all curves")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = open_digits(DIGITS, 1)
    digits = np.stack([source.load(row) for row in range(len(source))])
    digits = np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0)))
    while digits.shape[1] > RESOLUTION:
        digits = images.box_halve(digits)
    curves: dict[str, dict[int, dict[str, list[float]]]] = {form: {} for form in FORMS}
    for done, seed in enumerate(map(int, arguments.seeds.split(",")), start=1):
        for form in FORMS:
            curves[form][seed] = curve(form, seed, torch.from_numpy(digits), arguments.iterations)
            arguments.out.write_text(json.dumps(curves))
        if done > 1:
            print(f"{done} seeds\n\n{table(curves)}\n", flush=True)


if __name__ == "__main__":
    main()
