"""One run, complete: what to train, on what, how, on how many workers. Frozen, checked, kept as JSON."""

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
    """What every algorithm's Config offers, whatever else it holds."""

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
    """Which packed dataset is read, and how."""

    path: str
    """Folder or URL of the dataset: the place of its manifest.json; of two domains, of the folders `a` and `b`."""
    flip: bool = False
    """Mirror every image left to right with probability one half."""
    crop: Annotated[float, Ge(0), Le(0.5)] = 0.0
    """Shift every image by chance by up to this share of its side, both ways; the border is filled by reflection."""
    enlarge: Annotated[float, Ge(1), Le(2)] = 1.0
    """Enlarge every image by this and cut a square of its old size out by chance; 1.117 is CycleGAN's 286 to 256 px."""
    window_images: Count = 2048
    """Images are shuffled within windows of about this many, fewer where they take more than 256 MiB of pixels."""
    read_ahead_gib: Positive = 1.0
    """Images that Ray Data may hold ready in the object store."""
    damaged: Literal["stop", "skip"] = "stop"
    """What happens where stored images cannot be read: the run stops, or others of their window take their places."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the networks are trained, reported and saved."""

    optimizer: AdamConfig = field(default_factory=AdamConfig)
    """One such Adam per network; the learning rates are the schedule's."""
    ema_half_life_kimg: Positive = 10.0
    """Thousands of images after which a weight counts half in its average."""
    averages_from: Literal["networks", "other weights"] = "networks"
    """The averages start as exact copies of the networks, or from weights of their own, as in the official ALAE."""
    microbatch: tuple[Count, ...] | None = None
    """Images per forward pass and rank, by level (the last entry repeats); null takes the rank's whole batch. Memory
    only, not mathematics."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Autocast type of the forward passes; weights stay float32."""
    compile: bool = False
    """Run chains of pointwise operations as compiled kernels: faster, equal up to rounding; CPUs need a C++ compiler."""
    tick_kimg: Positive = 1.0
    """Thousands of images between two reports."""
    checkpoint_ticks: Count = 10
    """A checkpoint every so many ticks."""
    keep_checkpoints: Count | None = None
    """Newest checkpoints kept; null keeps all."""
    storage: str = "runs"
    """Folder or URL that holds the runs, each in a folder of its name."""
    init_from: str | None = None
    """Checkpoint whose networks a new run starts from; a run with checkpoints of its own resumes those."""
    vgg16_weights: str | None = None
    """Path or URL of torchvision's VGG16, for MUNIT's perceptual loss (algorithm.loss.vgg_w)."""
    check_replicas: bool = True
    """Compare the ranks' weights bit for bit at every checkpoint."""

    @property
    def tick_nimg(self) -> int:
        """Images between two reports."""
        return max(1, round(1000 * self.tick_kimg))

    @property
    def checkpoint_nimg(self) -> int:
        """Images between two checkpoints."""
        return self.tick_nimg * self.checkpoint_ticks


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured on checkpoints, beside the training."""

    enabled: bool = True
    """Evaluate at all."""
    every_checkpoints: Count = 1
    """Evaluate every so many checkpoints."""
    samples: Count = 5000
    """Generated images that the distances are computed over."""
    extractor: Literal["classifier", "pixels"] = "classifier"
    """Features of the default distance: those of a classifier trained on the dataset, which needs labels, or the pixels."""
    metrics: tuple[str, ...] | None = None
    """Metrics by name, such as fd_lite0_5k, kd_lite0_5k_x1000, reciprocity5k or fid50k_full; null takes the Fréchet
    distance of `samples`, `extractor`, `mixing_probability` and `rounding`. A name says how its number is taken."""
    inception_weights: str | None = None
    """Path or URL of Inception's weights in torch-fidelity's form, for fid, kid and is; see docs/evaluation.md."""
    vgg16_weights: str | None = None
    """Path or URL of torchvision's VGG16, for pr, ppl, lpips and diversity."""
    lpips_heads: str | None = None
    """Path or URL of LPIPS' heads for VGG16, for ppl, lpips and diversity."""
    alexnet_weights: str | None = None
    """Path or URL of torchvision's AlexNet, for diversity and lpips over alexnet."""
    alexnet_heads: str | None = None
    """Path or URL of LPIPS' heads for AlexNet, for the same."""
    workers: Count = 1
    """Ray tasks that share the metrics of one checkpoint; each reserves scaling.cpus_per_evaluation."""
    reconstructions: Count = 500
    """Images encoded and decoded for the reconstruction metrics."""
    mixing_probability: Annotated[float, Ge(0), Le(1)] = 0.0
    """Chance that styles are mixed in the images of the distances; 0.9 is the official ALAE's. The metric's name says it."""
    rounding: Literal["nearest", "official"] = "nearest"
    """How those images become bytes: the nearest value, or the official ALAE's floor of 127 (x + 1), a little darker."""
    grid_columns: Count = 8
    """Columns of the image grids."""


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """What the run asks of the cluster; changes the speed, not the mathematics."""

    workers: Count = 1
    """Ranks; every level's global batch is divided over them."""
    cpus_per_worker: Positive = 1.0
    """Logical CPUs reserved by each rank."""
    gpus_per_worker: NotNegative = 0.0
    """Logical GPUs reserved by each rank."""
    cpus_per_data_task: Positive = 1.0
    """Logical CPUs reserved by each task that reads images; at least one must fit beside the workers."""
    cpus_per_evaluation: Positive = 1.0
    """Logical CPUs reserved by the evaluation of a checkpoint, which runs beside the training."""
    autoscaling: bool = False
    """The cluster grows on demand: do not require that the run fits at its start."""
    max_failures: Annotated[int, Ge(0)] = 3
    """Lost workers after which the run is given up."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where the run is written down."""

    uri: str | None = None
    """MLflow tracking server; null writes the local history only."""
    experiment: str = "alae"
    """MLflow experiment."""
    best_metric: str | None = None
    """The metric of evaluation.metrics that decides which checkpoint and which trial is best, such as fd_lite0_5k; null
    takes the first that has a better side."""
    parent_run_id: str | None = None
    """MLflow run that this one is nested under, as in a search."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run, complete. `validate()` before it is used; `name` is its identity on storage."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    """Folder of the run on storage, and its name in MLflow."""
    seed: Annotated[int, Ge(0)] = 0
    """Names every random draw together with the image count."""
    algorithm: AnyAlgorithm
    """Networks and losses: the Config that `kind` names; see pipelines.experiment.algorithms."""
    schedule: ProgressiveSchedule
    """Resolution, blend, global batch and learning rate as functions of the images seen."""
    data: DataConfig
    """Which packed dataset is read, and how."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How the networks are trained, reported and saved."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """What is measured on checkpoints."""
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    """What the run asks of the cluster."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the run is written down."""

    @property
    def domains(self) -> int:
        """Image streams of the algorithm: 1, or 2 of a translator."""
        return self.algorithm.domains if isinstance(self.algorithm, HasDomains) else 1

    @property
    def evaluation_nimg(self) -> int:
        """Images between two evaluated checkpoints."""
        return self.training.checkpoint_nimg * self.evaluation.every_checkpoints

    def to_json(self) -> str:
        """The experiment as indented JSON, every field written out."""
        # A value that JSON lacks becomes a list, which no scalar field accepts, so that validate() names it.
        return json.dumps(dataclasses.asdict(self), indent=2, default=lambda value: [repr(value)])

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """The experiment that `to_json` wrote. ValueError: a line per unknown, missing or mistyped field."""
        return schema.parse(cls, text)

    def flatten(self) -> dict[str, Scalar]:
        """Dotted path -> scalar for every field; lists are written as `override` reads them: "4,8,16"."""
        return dict(_leaves(dataclasses.asdict(self), ""))

    def validate(self) -> None:
        """Raise ValueError, one line per problem, unless every field is sound and all fit together."""
        problems = rules.problems(Experiment.from_json(self.to_json()))
        if problems:
            raise ValueError("\n".join(problems))

    def tiny(self) -> "Experiment":
        """The same experiment shrunk to train within seconds on one CPU: 160 images per phase, as small as its networks go."""
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


# The largest value of each size that an algorithm may have in tiny().
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
"""The first that the networks take is that of tiny()."""
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
    """Where the rates change, so soon that it happens in tiny()."""
    names = ("lr_falls_from_kimg", "lr_halves_every_kimg")
    given = {name: getattr(schedule, name) for name in names}
    return {name: min(kimg, _TINY_LR_KIMG) for name, kimg in given.items() if kimg is not None}


def _leaves(value: Any, path: str) -> "list[tuple[str, Scalar]]":
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{path}.{key}".lstrip("."))]
    if isinstance(value, (tuple, list)):
        return [(path, ",".join(map(str, value)))]
    return [(path, value)]
