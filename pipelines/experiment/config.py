"""The complete description of a run: algorithm, schedule, data, training, evaluation, cluster and tracking.

Experiments are frozen dataclasses, are validated before use, and are stored as JSON.
"""

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge, Gt, Le
from pydantic import ConfigDict

from alae_core.algorithm import Algorithm
from alae_core.capabilities import HasDomains, Warmed
from alae_core.optim import AdamConfig
from alae_core.schedule import ProgressiveSchedule
from pipelines.experiment import algorithms, rules, schema

Scalar = str | int | float | bool | None
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]


class AlgorithmConfig(Protocol):
    """Members that the Config of every algorithm has."""

    @property
    def kind(self) -> str: ...
    @property
    def resolution(self) -> int: ...
    @property
    def channels(self) -> int: ...
    def build(self) -> Algorithm: ...


if TYPE_CHECKING:
    AnyAlgorithm = AlgorithmConfig
else:
    AnyAlgorithm = Annotated[AlgorithmConfig, schema.ByKind(algorithms.find, algorithms.configs, algorithms.kinds)]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The packed dataset, and how its images are read and augmented."""

    path: str
    """Folder or URL of the dataset. It holds manifest.json, or for two domains the folders `a` and `b`."""
    flip: bool = False
    """Mirror each image left to right with probability 0.5. Use it only where mirrored images are plausible."""
    crop: Annotated[float, Ge(0), Le(0.5)] = 0.0
    """Shift each image randomly along both axes by up to this share of its side, 0 to 0.5; reflection fills the border."""
    enlarge: Annotated[float, Ge(1), Le(2)] = 1.0
    """Enlarge each image by this factor, 1 to 2, and crop a random square of the original size; CycleGAN uses 286/256."""
    window_images: Count = 2048
    """Images per shuffle window. Larger windows shuffle better and need more memory; pixels cap a window at 256 MiB."""
    read_ahead_gib: Positive = 1.0
    """Size in GiB of the images that Ray Data may keep ready in the object store."""
    damaged: Literal["stop", "skip"] = "stop"
    """Reaction to stored images that cannot be read: stop the run, or train on others of the same window instead."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the networks are trained, reported and saved."""

    optimizer: AdamConfig = field(default_factory=AdamConfig)
    """Adam's settings, the same for each network. The learning rates are in schedule.lr."""
    ema_half_life_kimg: Positive = 10.0
    """Half-life of the moving averages of the weights, in thousands of images. Evaluation uses these averages."""
    averages_from: Literal["networks", "other weights"] = "networks"
    """Start of the moving averages: copies of the networks, or separate random weights, as in the official ALAE code."""
    microbatch: tuple[Count, ...] | None = None
    """Images per forward pass and rank, one value per level (the last one repeats); null: the rank's whole batch. Smaller
    values need less memory and accumulate gradients; the result is the same up to rounding."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward passes: float32, or autocast to bfloat16. The weights stay float32."""
    compile: bool = False
    """Compile chains of pointwise operations into kernels: faster, equal up to rounding. CPUs need a C++ compiler."""
    tick_kimg: Positive = 1.0
    """Interval between two reports of the training metrics, in thousands of images."""
    checkpoint_ticks: Count = 10
    """Interval between two checkpoints, in ticks. A lost worker repeats at most this much."""
    keep_checkpoints: Count | None = None
    """Number of newest checkpoints to keep; null keeps all."""
    storage: str = "runs"
    """Folder or URL of the runs. Each run is a folder in it, with the name of the experiment."""
    init_from: str | None = None
    """Checkpoint, or run with its newest checkpoint, whose networks a new run starts from. A run with checkpoints resumes."""
    vgg16_weights: str | None = None
    """Path or URL of torchvision's VGG16 weights, for MUNIT's perceptual loss (algorithm.loss.vgg_w)."""
    check_replicas: bool = True
    """Compare the weights of all ranks bit for bit at each checkpoint; a difference stops the run."""

    @property
    def tick_nimg(self) -> int:
        """Images between two reports of the training metrics, at least 1."""
        return max(1, round(1000 * self.tick_kimg))

    @property
    def checkpoint_nimg(self) -> int:
        """Images between two checkpoints."""
        return self.tick_nimg * self.checkpoint_ticks


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Metrics and image grids of checkpoints, computed while the training continues."""

    enabled: bool = True
    """Evaluate checkpoints; false trains without metrics and image grids."""
    every_checkpoints: Count = 1
    """Interval between two evaluations, in checkpoints. The last checkpoint is always evaluated."""
    samples: Count = 5000
    """Number of generated images of the default Fréchet distance. Values of different sizes are not comparable."""
    extractor: Literal["classifier", "pixels"] = "classifier"
    """Features of the default distance: those of a classifier trained on the dataset, which needs labels, or pixels."""
    metrics: tuple[str, ...] | None = None
    """Metrics by name, such as fd_lite0_5k, kd_lite0_5k_x1000, reciprocity5k or fid50k_full; null: the Fréchet distance
    given by `samples`, `extractor`, `mixing_probability` and `rounding`. docs/evaluation.md lists them."""
    inception_weights: str | None = None
    """Path or URL of the Inception weights in torch-fidelity's format, for fid, kid and is; see docs/evaluation.md."""
    vgg16_weights: str | None = None
    """Path or URL of torchvision's VGG16 weights, for pr, ppl, lpips and diversity."""
    lpips_heads: str | None = None
    """Path or URL of the LPIPS heads for VGG16, for ppl, lpips and diversity."""
    alexnet_weights: str | None = None
    """Path or URL of torchvision's AlexNet weights, for diversity and lpips with AlexNet."""
    alexnet_heads: str | None = None
    """Path or URL of the LPIPS heads for AlexNet, for diversity and lpips with AlexNet."""
    workers: Count = 1
    """Number of Ray tasks that share the metrics of one checkpoint; each reserves scaling.cpus_per_evaluation CPUs."""
    reconstructions: Count = 500
    """Number of images that are encoded and decoded for the reconstruction metrics."""
    mixing_probability: Annotated[float, Ge(0), Le(1)] = 0.0
    """Probability, 0 to 1, that an image of the default distance mixes two styles; the official ALAE code uses 0.9."""
    rounding: Literal["nearest", "official"] = "nearest"
    """Rounding of the default distance's images x to bytes: nearest, or floor(127 (x + 1)) as in the official ALAE code."""
    grid_columns: Count = 8
    """Columns of the image grids of a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """Resources that the run reserves on the cluster. They change its speed, not its result."""

    workers: Count = 1
    """Number of training processes (ranks). They share the global batch, so each entry of schedule.batch_size must divide."""
    cpus_per_worker: Positive = 1.0
    """Logical CPUs that each rank reserves."""
    gpus_per_worker: NotNegative = 0.0
    """Logical GPUs that each rank reserves; 0 trains on CPUs."""
    cpus_per_data_task: Positive = 1.0
    """Logical CPUs that each reading task reserves; at least one task must fit beside the ranks."""
    cpus_per_evaluation: Positive = 1.0
    """Logical CPUs that each evaluation task reserves; evaluation runs beside the training."""
    autoscaling: bool = False
    """Start although the run does not fit the cluster yet; the cluster adds nodes on demand."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Number of worker failures that the run survives; it resumes from its last checkpoint after each."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """MLflow tracking of the run, and the metric that defines its best checkpoint."""

    uri: str | None = None
    """URI of the MLflow tracking server; null writes only the history in the run's folder."""
    experiment: str = "alae"
    """Name of the MLflow experiment that holds the run."""
    best_metric: str | None = None
    """The metric of evaluation.metrics that ranks checkpoints and trials, such as fd_lite0_5k; null: the first one for
    which lower or higher is better."""
    parent_run_id: str | None = None
    """Identifier of the MLflow run that contains this one, such as a search; null: none."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The complete description of a run. Call `validate()` before use; `name` identifies the run on storage."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    """Name of the run's folder in training.storage, and of its MLflow run: letters, digits, `_`, `-` and `.`."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of all random draws. The same seed repeats a run exactly, also on more ranks up to rounding."""
    algorithm: AnyAlgorithm
    """Networks and losses: the Config of the algorithm that `kind` names."""
    schedule: ProgressiveSchedule
    """Resolution, fade-in, global batch and learning rate as functions of the images seen."""
    data: DataConfig
    """The packed dataset, and how its images are read and augmented."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How the networks are trained, reported and saved."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Metrics and image grids of checkpoints."""
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    """Resources that the run reserves on the cluster."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """MLflow tracking, and the metric that defines the best checkpoint."""

    @property
    def domains(self) -> int:
        """Number of image domains: 2 for a translator, otherwise 1."""
        return self.algorithm.domains if isinstance(self.algorithm, HasDomains) else 1

    @property
    def evaluation_nimg(self) -> int:
        """Images between two evaluated checkpoints."""
        return self.training.checkpoint_nimg * self.evaluation.every_checkpoints

    def to_json(self) -> str:
        """Return the experiment as indented JSON with all fields."""
        # A value that JSON lacks becomes a list, which no scalar field accepts, so that validate() names it.
        return json.dumps(dataclasses.asdict(self), indent=2, default=lambda value: [repr(value)])

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """Read the JSON of `to_json`. Raises ValueError with one line per unknown, missing or mistyped field."""
        return schema.parse(cls, text)

    def flatten(self) -> dict[str, Scalar]:
        """Return a dictionary of dotted path -> scalar of all fields; a list becomes text such as "4,8,16"."""
        return dict(_leaves(dataclasses.asdict(self), ""))

    def validate(self) -> None:
        """Raise ValueError with one line per problem if a field is invalid or fields contradict each other."""
        problems = rules.problems(Experiment.from_json(self.to_json()))
        if problems:
            raise ValueError("\n".join(problems))

    def tiny(self) -> "Experiment":
        """Return the experiment shrunk to seconds on one CPU: 160 images per phase at the smallest possible resolution."""
        levels = min(2, len(self.schedule.resolutions))
        algorithm = _shrunk(self.algorithm)
        return replace(
            self,
            name=f"{self.name.removesuffix('_tiny')}_tiny",
            algorithm=algorithm,
            schedule=replace(
                self.schedule,
                resolutions=(algorithm.resolution // 2, algorithm.resolution)[-levels:],
                stable_kimg=(0.16,),
                fade_kimg=(0.16,),
                batch_size=(8,),
                lr=self.schedule.lr[:levels],
                **_sooner(self.schedule),
            ),
            data=replace(self.data, window_images=64),
            training=replace(
                self.training,
                ema_half_life_kimg=min(0.1, self.training.ema_half_life_kimg),
                microbatch=None,
                precision="fp32",
                compile=False,
                tick_kimg=0.032,
                checkpoint_ticks=4,
                init_from=None,
            ),
            evaluation=replace(self.evaluation, samples=32, extractor="pixels", reconstructions=16),
            scaling=replace(self.scaling, workers=1, cpus_per_worker=1.0, gpus_per_worker=0.0),
        )


# Largest value of each size of an algorithm in tiny().
_TINY_SIZES = {
    "latent": 8,
    "base_channels": 4,
    "max_channels": 8,
    "hidden": 16,
    "mapping_layers": 2,
    "residual_blocks": 1,
    "discriminator_layers": 6,
    "first_resolution": 4,
    "group": 4,
}
_TINY_RESOLUTIONS = (8, 16, 32, 64)
"""Resolutions to try in tiny(), in order; it uses the first one that the networks accept."""
_TINY_WARMUP_KIMG = 0.008
_TINY_LR_KIMG = 0.016


def _shrunk(algorithm: Any) -> Any:
    given = {field.name: getattr(algorithm, field.name) for field in dataclasses.fields(algorithm)}
    small = {key: min(given[key], cap) for key, cap in _TINY_SIZES.items() if given.get(key) is not None}
    loss: Any = given.get("loss")
    if isinstance(loss, Warmed):
        small["loss"] = replace(
            given["loss"], warmup_kimg=tuple(min(kimg, _TINY_WARMUP_KIMG) for kimg in loss.warmup_kimg)
        )
    for resolution in _TINY_RESOLUTIONS:
        with suppress(ValueError):
            return replace(algorithm, **small, resolution=min(resolution, algorithm.resolution))
    return algorithm


def _sooner(schedule: ProgressiveSchedule) -> dict[str, Any]:
    """Fields of the learning rate's decay, moved so early that it begins within tiny()."""
    names = ("lr_falls_from_kimg", "lr_halves_every_kimg")
    given = {name: getattr(schedule, name) for name in names}
    return {name: min(kimg, _TINY_LR_KIMG) for name, kimg in given.items() if kimg is not None}


def _leaves(value: Any, path: str) -> "list[tuple[str, Scalar]]":
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{path}.{key}".lstrip("."))]
    if isinstance(value, (tuple, list)):
        return [(path, ",".join(map(str, value)))]
    return [(path, value)]
