"""`alae init`: an experiment file of the user's own, which fits a packed dataset and the machine and trains as it is."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from alae_core.capabilities import Warmed
from alae_core.schedule import ProgressiveSchedule, at_level
from pipelines import presets
from pipelines.cli import experiment_file, rate
from pipelines.cli.parser import fill
from pipelines.data.domains import is_pair, open_datasets
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import requirements
from pipelines.experiment import Experiment, ScalingConfig
from pipelines.presets.lookup import starts

TRAINING_SHARE = 0.7
"""Share of the hours that is counted for training; the rest is for the start, reading and evaluations."""
MOST_WORKERS = 8
TICKS, CHECKPOINT_TICKS = 50, 5
DATA_CPUS, EVALUATION_CPUS = 0.5, 0.25
SMALL_SIDE, FEW_SAMPLES = 32, 1000
"""Above this side, CPUs draw this many samples for an evaluation: each takes as long as a fifth of a training step."""


@dataclass(frozen=True)
class Machine:
    """The CPUs and GPUs that the run may use."""

    cpus: int
    gpus: int

    @property
    def words(self) -> str:
        """The size in words."""
        return f"{self.gpus} GPU{'s' * (self.gpus > 1)}" if self.gpus else f"{self.cpus} CPU{'s' * (self.cpus > 1)}"

    @staticmethod
    def here() -> "Machine":
        """This machine."""
        return Machine(len(os.sched_getaffinity(0)), torch.cuda.device_count())


def init(
    name: str,
    url: str,
    *,
    algorithm: str | None = None,
    hours: float = 1.0,
    machine: Machine | None = None,
) -> Path:
    """Write `name`.py into the current folder and return its path; nothing is written unless the experiment fits.

    `algorithm` is a kind, such as those that the refusal of an unknown one lists. `hours` is the time that the run may take
    on `machine`, default this one, by the rates of pipelines.cli.rate. Raises ValueError with a sentence.
    """
    name = name.removesuffix(".py")
    file = Path(f"{name}.py")
    if file.exists():
        raise ValueError(f"{file} is there already; choose another name, or delete it")
    if not hours > 0:
        raise ValueError(f"--hours={hours:g} must be above 0, such as 1")
    machine = machine or Machine.here()
    datasets = open_datasets(url, 2 if is_pair(url) else 1)
    preset = _start(datasets, algorithm, machine)
    experiment = _in_time(_on_machine(_on_data(presets.load(preset), name, url, datasets), machine), hours, machine)
    experiment.validate()
    requirements.check_experiment(experiment, datasets)
    file.write_text(
        experiment_file.source(experiment, _introduction(experiment, preset, hours, machine), _notes(hours, machine))
    )
    return file


def _start(datasets: tuple[Dataset, ...], algorithm: str | None, machine: Machine) -> str:
    """The preset to start from: of the algorithm, with the resolution nearest to that of the images."""
    side = datasets[0].resolution
    fitting: dict[str, list[tuple[float, str]]] = {}
    for name in starts.GPU if machine.gpus else starts.CPU:
        preset = presets.load(name)
        if preset.domains == len(datasets) and _takes(preset, datasets[0]):
            distance = abs(preset.algorithm.resolution.bit_length() - side.bit_length())
            fitting.setdefault(preset.algorithm.kind, []).append((distance, name))
    if not fitting:
        raise ValueError(f"no algorithm takes images of {side} px in {len(datasets)} domains; pack larger ones")
    if algorithm is not None and algorithm not in fitting:
        raise ValueError(
            f"--algorithm={algorithm} does not fit {len(datasets)} domain{'s' * (len(datasets) > 1)} of {side} px; "
            f"use {' or '.join(fitting)}"
        )
    return min(fitting[algorithm or next(iter(fitting))], key=lambda found: found[0])[1]


def _takes(preset: Experiment, dataset: Dataset) -> bool:
    try:
        _sized(preset.algorithm, dataset)
    except ValueError:
        return False
    return True


def _sized(algorithm: Any, dataset: Dataset) -> Any:
    return replace(algorithm, resolution=dataset.resolution, channels=dataset.channels)


def _on_data(preset: Experiment, name: str, url: str, datasets: tuple[Dataset, ...]) -> Experiment:
    labelled = len(datasets) == 1 and datasets[0].label_count > 1
    return replace(
        preset,
        name=name,
        algorithm=_sized(preset.algorithm, datasets[0]),
        schedule=_levels(preset.schedule, datasets[0].resolution),
        data=replace(preset.data, path=url, flip=False),
        evaluation=replace(
            preset.evaluation, extractor="classifier" if labelled else "pixels", metrics=None, every_checkpoints=1
        ),
    )


def _levels(schedule: ProgressiveSchedule, side: int) -> ProgressiveSchedule:
    """The schedule cut or continued to end at `side`; the last level keeps its share of the images."""
    first = min(schedule.resolutions[0], side) if len(schedule.resolutions) > 1 else side
    resolutions = tuple(2**power for power in range(first.bit_length() - 1, side.bit_length()))
    last, before = len(schedule.resolutions) - 1, max(0, len(schedule.resolutions) - 2)

    def lengths(values: tuple[float, ...]) -> tuple[float, ...]:
        own = [at_level(values, min(index, before)) for index in range(len(resolutions) - 1)]
        return (*own, at_level(values, last))

    return replace(
        schedule,
        resolutions=resolutions,
        stable_kimg=lengths(schedule.stable_kimg),
        fade_kimg=lengths(schedule.fade_kimg),
        batch_size=schedule.batch_size[: len(resolutions)],
        lr=schedule.lr[: len(resolutions)],
    )


def _on_machine(experiment: Experiment, machine: Machine) -> Experiment:
    """As many workers as batches divide over, and CPUs left for reading and evaluation."""
    most = min(machine.gpus or machine.cpus, MOST_WORKERS)
    training = experiment.training
    if training.microbatch:
        training = replace(training, microbatch=training.microbatch[: len(experiment.schedule.resolutions)])
    evaluation = experiment.evaluation
    if not machine.gpus and experiment.algorithm.resolution > SMALL_SIDE:
        evaluation = replace(evaluation, samples=min(evaluation.samples, FEW_SAMPLES))
    if not machine.gpus:  # whether the workers have a C++ compiler is not known
        training = replace(training, compile=False)
    refusal = ""
    for workers in _halvings(most):
        share = int(100 * (machine.cpus - DATA_CPUS - EVALUATION_CPUS) / workers) / 100
        scaling = ScalingConfig(
            workers=workers,
            cpus_per_worker=max(0.01, min(1.0, share)),
            gpus_per_worker=1.0 if machine.gpus else 0.0,
            cpus_per_data_task=DATA_CPUS,
            cpus_per_evaluation=EVALUATION_CPUS,
        )
        fitted = replace(experiment, training=training, evaluation=evaluation, scaling=scaling)
        try:
            fitted.validate()
        except ValueError as error:
            refusal = str(error)
        else:
            return fitted
    raise ValueError(refusal)


def _halvings(most: int) -> Iterator[int]:
    size = 1 << (most.bit_length() - 1)
    while size:
        yield size
        size //= 2


def _in_time(experiment: Experiment, hours: float, machine: Machine) -> Experiment:
    """Every length multiplied so that the run takes about `hours`, and all that is counted in lengths with it."""
    schedule, levels = experiment.schedule, range(len(experiment.schedule.resolutions))
    speed = rate.images_per_second(experiment, machine.cpus, experiment.scaling.workers if machine.gpus else 0)
    lengths = [at_level(schedule.stable_kimg, level) + at_level(schedule.fade_kimg, level) for level in levels]
    seconds = sum(1000 * kimg / images for kimg, images in zip(lengths, speed, strict=True))
    factor = 3600 * hours * TRAINING_SHARE / seconds
    batches = [at_level(schedule.batch_size, level) / 1000 for level in levels]
    stable = [max(batch, factor * at_level(schedule.stable_kimg, level)) for level, batch in enumerate(batches)]
    fade = [factor * at_level(schedule.fade_kimg, level) for level in levels]
    total = sum(stable) + sum(fade)
    fitted = replace(
        schedule,
        stable_kimg=tuple(map(_rounded, stable)),
        fade_kimg=tuple(map(_rounded, fade)),
        lr_falls_from_kimg=_share(schedule.lr_falls_from_kimg, factor),
        lr_halves_every_kimg=_share(schedule.lr_halves_every_kimg, factor),
    )
    algorithm: Any = experiment.algorithm
    loss: Any = getattr(algorithm, "loss", None)
    if isinstance(loss, Warmed):
        warmup = tuple(_rounded(kimg * min(1.0, factor)) for kimg in loss.warmup_kimg)
        algorithm = replace(algorithm, loss=replace(loss, warmup_kimg=warmup))  # type: ignore[type-var]
    training = replace(
        experiment.training,
        ema_half_life_kimg=_rounded(min(experiment.training.ema_half_life_kimg, total / 20)),
        tick_kimg=_rounded(max(*batches, total / TICKS))
        if len(batches) > 1
        else _rounded(max(batches[0], total / TICKS)),
        checkpoint_ticks=CHECKPOINT_TICKS,
        keep_checkpoints=3,
    )
    return replace(experiment, algorithm=algorithm, schedule=fitted, training=training)


def _share(kimg: float | None, factor: float) -> float | None:
    return None if kimg is None else _rounded(kimg * factor)


def _rounded(kimg: float) -> float:
    """Three digits that matter, in whole images."""
    return round(float(f"{kimg:.3g}"), 3)


def _introduction(experiment: Experiment, preset: str, hours: float, machine: Machine) -> str:
    side, colour = experiment.algorithm.resolution, "grayscale" if experiment.algorithm.channels == 1 else "colour"
    made = (
        f"Networks, losses and learning rates are those of the preset {preset}, which was made for other images: a start, not "
        f"a tuned recipe. The length, {experiment.schedule.total_nimg / 1000:.4g} thousand images, is an estimate for "
        f"{_hours(hours)} on {machine.words}: the operations of an iteration over a rough rate ({_rates(machine)}), with "
        f"{1 - TRAINING_SHARE:.0%} left for the start and evaluations. It may be off by a factor of two."
    )
    return f"""{experiment.name}: {experiment.algorithm.kind} on {colour} images of {side}x{side} px.

Train it:  alae train {experiment.name}.py     (the same command goes on after a stop)
Look:      alae show {experiment.name}.py      (every setting, those left at their defaults too)

{fill(made, experiment_file.COLUMNS)}"""


def _rates(machine: Machine) -> str:
    return f"{rate.GPU_GFLOPS:,.0f} GFLOP/s a GPU" if machine.gpus else f"{rate.CPU_GFLOPS:.0f} GFLOP/s a CPU"


def _hours(hours: float) -> str:
    return f"{hours:g} hour{'s' * (hours != 1)}"


def _notes(hours: float, machine: Machine) -> dict[str, str]:
    return {
        "algorithm.resolution": "The dataset's.",
        "algorithm.channels": "The dataset's.",
        "schedule.stable_kimg": f"Estimated for {_hours(hours)}.",
        "schedule.batch_size": "",
        "data.flip": "True is right where a mirrored image is as good as the original: for faces, not for digits.",
        "training.tick_kimg": f"About {TICKS} reports a run.",
        "evaluation.extractor": "By the dataset's labels.",
        "scaling.workers": f"For {machine.words}.",
    }
