"""The speed of training, from the operations of an iteration and a documented rate: rough, and the same on a busy machine.

The rate of a CPU is that of benchmarks/training_step_cpu2_2026-11-22.md and its like, 90 to 145 GFLOP/s on two CPUs over five
algorithms. That of a GPU has not been measured: it is a low guess for float32 on a data centre's GPU.
"""

from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from alae_core.capabilities import Grouped
from alae_core.engine import Engine
from alae_core.schedule import at_level
from alae_core.state import TrainState
from pipelines.experiment import Experiment

CPU_GFLOPS, GPU_GFLOPS = 50.0, 10_000.0
"""Thousand million floating point operations per second of one CPU and of one GPU."""
ITERATION_S = 0.1
"""Seconds of an iteration that small images take as well."""
COUNTED_BATCH = 4
"""Images of a counted iteration; more where an algorithm keeps groups of images together."""


class _Counter(TorchDispatchMode):
    """Adds up operations; torch's own FlopCounterMode refuses gradients with respect to a leaf, such as R1's."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


def images_per_second(experiment: Experiment, cpus: int, gpus: int) -> tuple[float, ...]:
    """Estimated images of the run per second at each level, on `gpus` or, if there are none, on `cpus`."""
    gflops = gpus * GPU_GFLOPS or cpus * CPU_GFLOPS
    batches = [at_level(experiment.schedule.batch_size, level) for level in range(len(experiment.schedule.resolutions))]
    needed = gflop_per_image(experiment, "cuda" if gpus else "cpu")
    return tuple(batch / (ITERATION_S + batch * gflop / gflops) for batch, gflop in zip(batches, needed, strict=True))


def gflop_per_image(experiment: Experiment, device: str) -> tuple[float, ...]:
    """Thousand million operations per image at each level, without updates that run in some iterations only."""
    config: object = experiment.algorithm
    images = max(COUNTED_BATCH, config.together) if isinstance(config, Grouped) else COUNTED_BATCH
    schedule = replace(
        experiment.schedule,
        batch_size=(images,),
        stable_kimg=(1.0,),
        fade_kimg=(0.0,),
        lr_falls_from_kimg=None,
        lr_halves_every_kimg=None,
    )
    engine = Engine(schedule=schedule, seed=experiment.seed)
    state = TrainState.build(experiment.algorithm, experiment.seed, experiment.training.optimizer, device)
    draw, found = torch.Generator().manual_seed(experiment.seed), []
    for segment, side in zip(schedule.segments, schedule.resolutions, strict=True):
        shape = (images, side, side, experiment.algorithm.channels)
        state.nimg, state.iteration = segment.start, 1
        with _Counter() as counter:
            engine.train_iteration(
                state,
                tuple(
                    torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw).to(device)
                    for _ in range(experiment.domains)
                ),
            )
        found.append(counter.flops / images / 1e9)
    return tuple(found)
