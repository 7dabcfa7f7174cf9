"""Rules that the fields of an experiment must satisfy together; each yields one sentence per violation."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from alae_core.capabilities import Grouped, Grown, Mixes, Perceptual
from alae_core.order import sizes
from alae_core.schedule import at_level

if TYPE_CHECKING:
    from pipelines.experiment import Experiment

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SIZES = ("resolution", "channels", "latent", "base_channels", "max_channels", "hidden")
_WEIGHTS = ("inception_weights", "vgg16_weights", "lpips_heads", "alexnet_weights", "alexnet_heads")
_VGG16_SIDE = 16
# The pattern covers the whole text: a secret key may contain a "/", where a URL parser ends the host part.
# A user name alone is a token in a web address, but a container in Azure's container@account.
_SECRET = re.compile(
    r"://[^@]*:[^@]*@"
    r"|^https?://[^/?#]*@"
    r"|[?&]([^=&]*(secret|token|password|signature|credential|access_?key|api_?key)[^=&]*|sig)=",
    re.IGNORECASE,
)


def problems(experiment: "Experiment") -> list[str]:
    """Return one sentence per violated rule, with dotted field, value, rule and remedy."""
    rules = (
        _name,
        _secrets,
        _numbers,
        _resolutions,
        _one_level,
        _batches,
        _microbatch,
        _groups,
        _window,
        _tick,
        _mixing,
        _augmentations,
        _perceptual,
    )
    return [sentence for rule in rules for sentence in rule(experiment)]


def _name(experiment: "Experiment") -> Iterator[str]:
    if not _NAME.fullmatch(experiment.name):
        yield (
            f'name="{experiment.name}" cannot be a folder name; use 1 to 100 letters, digits, "_", "-" '
            'and ".", the first a letter or digit'
        )


def _secrets(experiment: "Experiment") -> Iterator[str]:
    """URLs must not hold credentials, because an experiment is written to storage and to MLflow."""
    urls = {
        "data.path": experiment.data.path,
        "training.storage": experiment.training.storage,
        "training.init_from": experiment.training.init_from,
        "training.vgg16_weights": experiment.training.vgg16_weights,
        "tracking.uri": experiment.tracking.uri,
        **{f"evaluation.{name}": getattr(experiment.evaluation, name) for name in _WEIGHTS},
    }
    for path, url in urls.items():
        if url == "":
            yield f'{path}="" is empty; give a folder or URL'
        if url and _SECRET.search(url):
            yield (
                f"{path} carries credentials, which would be saved with the run; take them out of the URL "
                "and set them in the environment (AWS_ACCESS_KEY_ID, MLFLOW_TRACKING_USERNAME and their like)"
            )


def _numbers(experiment: "Experiment") -> Iterator[str]:
    """Bounds of fields whose classes are in alae_core, which has no pydantic annotations."""
    adam = experiment.training.optimizer
    for name in ("beta1", "beta2"):
        if not 0 <= getattr(adam, name) < 1:
            yield f"training.optimizer.{name}={getattr(adam, name)} must be a number at least 0 and below 1"
    if adam.eps <= 0:
        yield f"training.optimizer.eps={adam.eps} must be a number above 0"
    if adam.weight_decay < 0:
        yield f"training.optimizer.weight_decay={adam.weight_decay} must be a number at least 0"
    for path, value in experiment.flatten().items():
        if path.startswith("algorithm.") and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield from _algorithm_number(path, value)


def _algorithm_number(path: str, value: float) -> Iterator[str]:
    """Bounds that follow from a field's name; an algorithm's Config checks its other rules itself."""
    name = path.split(".")[-1]
    if name.endswith("_probability") and not 0 <= value <= 1:
        yield f"{path}={value} must be a number at least 0 and at most 1"
    elif name.endswith("_decay") and not 0 <= value < 1:
        yield f"{path}={value} must be a number at least 0 and below 1"
    elif name in _SIZES and value < 1:
        yield f"{path}={value} must be a whole number at least 1"
    elif value < 0:
        yield f"{path}={value} must be a number at least 0"


def _resolutions(experiment: "Experiment") -> Iterator[str]:
    resolutions = experiment.schedule.resolutions
    coarsest, listed = resolutions[0], ",".join(map(str, resolutions))
    if coarsest < 4 or coarsest & (coarsest - 1):
        yield f"schedule.resolutions={listed} must be powers of two from 4 up"
    if experiment.algorithm.resolution != resolutions[-1]:
        yield (
            f"algorithm.resolution={experiment.algorithm.resolution} is not the last of "
            f"schedule.resolutions={listed}; make both the same"
        )
    elif isinstance(experiment.algorithm, Grown):
        first = experiment.algorithm.first_resolution or resolutions[-1]
        if coarsest < first:
            yield (
                f"schedule.resolutions={listed} starts below the networks' coarsest, {first}; set "
                f"algorithm.first_resolution={coarsest}"
            )


def _one_level(experiment: "Experiment") -> Iterator[str]:
    resolutions = experiment.schedule.resolutions
    if experiment.domains > 1 and len(resolutions) > 1:
        yield (
            f"schedule.resolutions={','.join(map(str, resolutions))} are several levels, and "
            f"algorithm.kind={experiment.algorithm.kind} trains at one; use schedule.resolutions={resolutions[-1]}"
        )


def _batches(experiment: "Experiment") -> Iterator[str]:
    ranks = experiment.scaling.workers
    for index, batch in enumerate(experiment.schedule.batch_size):
        if batch % ranks:
            near = _near(batch, ranks)
            yield (f"schedule.batch_size[{index}]={batch} does not divide over scaling.workers={ranks}; use {near}")


def _microbatch(experiment: "Experiment") -> Iterator[str]:
    sizes, ranks = experiment.training.microbatch, experiment.scaling.workers
    levels = range(len(experiment.schedule.resolutions))
    batches = [at_level(experiment.schedule.batch_size, level) for level in levels]
    if sizes is None or any(batch % ranks for batch in batches):
        return
    if len(sizes) > len(levels):
        yield f"training.microbatch has {len(sizes)} entries for {len(levels)} levels; give 1 to that many"
        return
    config: object = experiment.algorithm
    group = config.together if isinstance(config, Grouped) else 1
    for entry, size in enumerate(sizes):
        shares = {batches[level] // ranks for level in levels if min(level, len(sizes) - 1) == entry}
        broken = sorted(share for share in shares if share % size)
        fitting = [part for part in _divisors(math.gcd(*shares)) if part % group == 0]
        place = f"[{entry}]" if len(sizes) > 1 else ""
        if broken:
            yield (
                f"training.microbatch{place}={size} does not divide {broken[0] * ranks}/{ranks} ranks = "
                f"{broken[0]} images per rank; use {_alternatives(fitting or _divisors(math.gcd(*shares)))}"
            )
            return
        if isinstance(config, Grouped) and size % group and fitting:
            yield f"training.microbatch{place}={size} is not {_whole(config)}; use {_alternatives(fitting)}"


def _groups(experiment: "Experiment") -> Iterator[str]:
    """Images with common statistics must stay on one rank; `_microbatch` checks micro-batches."""
    config, ranks = experiment.algorithm, experiment.scaling.workers
    if not isinstance(config, Grouped):
        return
    group = config.together
    for index, batch in enumerate(experiment.schedule.batch_size):
        share = batch // ranks
        if batch % ranks == 0 and share % group:
            yield (
                f"schedule.batch_size[{index}]={batch} over scaling.workers={ranks} is {share} images per rank, not "
                f"{_whole(config)}; use {_near(batch, group * ranks)} images{_fitting_workers(batch, group)}"
            )


def _whole(config: Grouped) -> str:
    field = config.grouped_by
    return f"whole groups of {config.together} images, which algorithm.{field}={getattr(config, field)} keeps together"


def _near(number: int, step: int) -> str:
    """Multiples of `step` next to a number, below and above."""
    below = number // step * step
    return _alternatives([size for size in (below, below + step) if size])


def _fitting_workers(batch: int, group: int) -> str:
    """Worker counts that divide a batch into whole groups."""
    known = _divisors(batch // group) if batch % group == 0 else []
    return f", or {_alternatives(known)} workers" if known else ""


def _window(experiment: "Experiment") -> Iterator[str]:
    window, largest = experiment.data.window_images, max(experiment.schedule.batch_size)
    if window < largest:
        yield (
            f"data.window_images={window} is smaller than the largest batch in schedule.batch_size; "
            f"use {largest} or more"
        )
    resolutions = experiment.schedule.resolutions
    channels = experiment.domains * experiment.algorithm.channels
    if resolutions[0] < 1 or channels < 1:
        return
    batches = [at_level(experiment.schedule.batch_size, level) for level in range(len(resolutions))]
    needed = 2 * max(
        sizes(size, batch, window, channels)[1] * size * size * channels
        for size, batch in zip(resolutions, batches, strict=True)
    )
    if needed > experiment.data.read_ahead_gib * 2**30:
        yield (
            f"data.read_ahead_gib={experiment.data.read_ahead_gib:g} does not hold what two tasks read at a time; use "
            f"{math.ceil(100 * needed / 2**30) / 100:g} or more"
        )


def _tick(experiment: "Experiment") -> Iterator[str]:
    tick, largest = experiment.training.tick_kimg, max(experiment.schedule.batch_size)
    if experiment.training.tick_nimg < largest:
        yield (
            f"training.tick_kimg={tick} is shorter than one iteration of {largest} images (the largest in "
            f"schedule.batch_size); use {largest / 1000} or more"
        )


def _mixing(experiment: "Experiment") -> Iterator[str]:
    probability = experiment.evaluation.mixing_probability
    if probability and not isinstance(experiment.algorithm, Mixes):
        yield (
            f"evaluation.mixing_probability={probability:g} needs styles to mix, and "
            f"algorithm.kind={experiment.algorithm.kind} has one code per image; use 0"
        )


def _augmentations(experiment: "Experiment") -> Iterator[str]:
    data = experiment.data
    if data.crop and data.enlarge > 1:
        yield (
            f"data.crop={data.crop:g} and data.enlarge={data.enlarge:g} both shift the images randomly; use "
            "data.crop=0 or data.enlarge=1"
        )


def _perceptual(experiment: "Experiment") -> Iterator[str]:
    config = experiment.algorithm
    if not isinstance(config, Perceptual):
        return
    weight, field = config.perceptual_weight, f"algorithm.{config.perceptual_field}"
    if weight and experiment.training.vgg16_weights is None:
        yield (
            f"{field}={weight:g} needs the weights of a VGG-16; give training.vgg16_weights=<path or URL of "
            f"torchvision's vgg16-397923af.pth>, or use {field}=0"
        )
    elif weight and experiment.algorithm.resolution < _VGG16_SIDE:
        yield (
            f"{field}={weight:g} compares images of {_VGG16_SIDE} px or more, and algorithm.resolution="
            f"{experiment.algorithm.resolution}; use {field}=0"
        )


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _alternatives(numbers: list[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last
