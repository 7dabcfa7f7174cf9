"""Latent directions in W: for each binary attribute a separating plane, and the change of a code that edits the attribute.

If the algorithm encodes, the codes are those of real images with the dataset's attributes; otherwise those of generated
images with labels of the dataset's classifier, as for linear separability (StyleGAN, section 4.2). A plane uses every
dimension that predicts the attribute, even if the image hardly depends on it, so a step along its normal may be barely
visible, and may change other attributes. Editing therefore uses the coefficients of codes regressed linearly on all attributes.
"""

import hashlib
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from alae_core.capabilities import Codes, Encodes
from alae_core.metrics.separability import most_confident
from pipelines import storage
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import planes
from pipelines.evaluation.draws import CodedSamples
from pipelines.evaluation.features import attributes
from pipelines.evaluation.features.extractor import batches
from pipelines.evaluation.features.reference import blended
from pipelines.evaluation.loading import load
from pipelines.evaluation.pages import from_codes
from pipelines.evaluation.subject import Subject
from pipelines.pictures import grids
from pipelines.runs import layout
from pipelines.runs.evaluations import dataset_record
from pipelines.sources.decoding import Pixels

IMAGES = 10_000
SHOWN = 6
"""Images on each page."""
HELD_OUT = 10
"""Interval of the held-out codes: every tenth code tests the plane that is fitted to the others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Direction:
    """Direction of one attribute in W."""

    normal: Tensor
    """Unit normal float32 [D] of the plane, towards the attribute's second value."""
    change: Tensor
    """Difference float32 [D] between codes of the second and the first value, with the other attributes equal.

    It is the unit of the steps of a page.
    """
    accuracy: float
    """Accuracy of the plane on held-out codes, in [0, 1]."""
    share: float
    """Share of the codes with the second value, in [0, 1]."""
    images: int


@dataclass(frozen=True)
class Found:
    """Directions of one checkpoint by attribute, their record, and the paths of their pages in the run's folder."""

    checkpoint: str
    nimg: int
    directions: dict[str, Direction]
    source: str
    record: str
    figures: dict[str, str]


@torch.no_grad()
def find_and_keep(place: str, *, images: int = IMAGES, overrides: Sequence[str] = ()) -> Found:
    """Find the directions of the checkpoint at `place`, or of the newest of the run there, and store them with their pages.

    Raises ValueError for an algorithm without codes, and as `find`, before any page is drawn.
    """
    url, experiment, subject, nimg = load(place, overrides)
    if subject.domains > 1:
        raise ValueError(
            f"{url} translates between two domains and has no codes to edit; give a run of another algorithm"
        )
    if not isinstance(subject.algorithm, Codes):
        raise ValueError(f"{url}: {experiment.algorithm.kind} offers no codes to edit; give a run of another algorithm")
    dataset = Dataset.open(experiment.data.path, experiment.data.damaged)
    directions, source = find(subject, dataset, images)
    run = layout.run_of(url)
    kept, described = (layout.directions_path(nimg, ending) for ending in ("safetensors", "json"))
    paths = {name: layout.figure_path(slug, nimg) for name, slug in slugs(directions).items()}
    for name, page in draw(subject, dataset, directions).items():
        storage.write_bytes_verified(f"{run}/{paths[name]}", grids.png_bytes(page))
    weights = safetensors.torch.save(
        {f"{part}/{name}": getattr(found, part) for name, found in directions.items() for part in ("normal", "change")}
    )
    storage.write_bytes_verified(f"{run}/{kept}", weights)
    about = {
        "nimg": nimg,
        "time": time.time(),
        "checkpoint": layout.relative_checkpoint(url),
        "dataset": dataset_record((dataset,)),
        "space": "w",
        "source": source,
        "weights": kept,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "steps": list(from_codes.STEPS),
        "attributes": {
            name: {
                "length": float(found.change.norm()),
                "accuracy": found.accuracy,
                "share": found.share,
                "images": found.images,
                "figure": paths[name],
            }
            for name, found in directions.items()
        },
    }
    storage.write_json_verified(f"{run}/{described}", about)
    return Found(url, nimg, directions, source, f"{run}/{described}", paths)


@torch.no_grad()
def find(subject: Subject, dataset: Dataset, images: int = IMAGES) -> tuple[dict[str, Direction], str]:
    """Return the direction of each binary attribute, and a description of the codes.

    An attribute with too few codes of one value is left out with a warning. Raises ValueError if no attribute is left, or if
    `images` is below 20.
    """
    if images < 2 * HELD_OUT:
        raise ValueError(f"{images} images are too few to find directions; use {2 * HELD_OUT} or more")
    attributes.check(dataset)
    coded = (
        _real(subject, dataset, images) if isinstance(subject.algorithm, Encodes) else _made(subject, dataset, images)
    )
    codes, labels, source = coded.codes, coded.sure, coded.source
    found = {}
    changes = dict(zip(labels, _changes(codes, coded.labels), strict=True))
    for name, column in labels.items():
        known = column >= 0
        direction = _direction(codes[known], column[known] == 1, changes[name])
        if direction is None:
            log.warning(
                "attribute %s has no direction: too few of the %d images have one of its values", name, len(codes)
            )
        else:
            found[name] = direction
    if not found:
        raise ValueError(f"no attribute of {dataset.url} has both values in {images:,} images; use more images")
    return found, source


def draw(subject: Subject, dataset: Dataset, directions: Mapping[str, Direction]) -> dict[str, Pixels]:
    """Draw a page for each direction: held-out images, or samples without an encoder, edited by steps along it."""
    if isinstance(subject.algorithm, Encodes):
        split = dataset.split("validation" if "validation" in dataset.manifest.splits else "train")
        real = blended(split, subject.level.resolution, subject.level.blend, 0, min(SHOWN, split.rows))
        codes = subject.encoded(subject.batch(0, len(real), real))
    else:
        real, batch = None, subject.batch(0, SHOWN)
        codes = subject.mapped(batch.noise("z", subject.latent))
    return {name: from_codes.edited(subject, codes, found.change, real=real) for name, found in directions.items()}


def slugs(names: Mapping[str, object]) -> dict[str, str]:
    """Return a unique part of a file name for each attribute."""
    taken: dict[str, str] = {}
    for name in names:
        slug = f"attribute_{re.sub(r'[^A-Za-z0-9-]+', '_', name)}"
        taken[name] = slug if slug not in taken.values() else f"{slug}_{len(taken)}"
    return taken


def _changes(codes: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Least-squares coefficients [K, D] of codes [n, D] on attributes [n, K]; codes with an unknown one (-1) are left out."""
    whole = (labels >= 0).all(1)
    design = np.column_stack([np.ones(whole.sum()), labels[whole]])
    return np.linalg.lstsq(design, codes[whole], rcond=None)[0][1:].astype(np.float32)


def _direction(codes: NDArray[np.float32], labels: NDArray[np.bool_], change: NDArray[np.float32]) -> Direction | None:
    scores = np.arange(len(codes)) % HELD_OUT == 0
    if min(np.bincount(labels[~scores], minlength=2)) < 2 or not scores.any():
        return None
    plane = planes.fitted(codes[~scores], labels[~scores])
    normal = (plane.coef_[0] / np.linalg.norm(plane.coef_[0])).astype(np.float32)
    return Direction(
        normal=torch.from_numpy(normal),
        change=torch.from_numpy(change),
        accuracy=float(plane.score(codes[scores], labels[scores])),
        share=float(labels.mean()),
        images=len(codes),
    )


@dataclass(frozen=True)
class Coded:
    """Codes, and the attributes of their images: 0, 1, or -1 if unknown."""

    codes: NDArray[np.float32]
    """Codes float32 [n, D]."""
    labels: NDArray[np.int64]
    """Labels int64 [n, K]."""
    sure: dict[str, NDArray[np.int64]]
    """Labels int64 [n] by attribute, -1 also where the classifier is less confident than for half of the images."""
    source: str


def _real(subject: Subject, dataset: Dataset, images: int) -> Coded:
    values = attributes.binary_values(dataset)
    split = dataset.split("train")
    rows = np.arange(min(images, split.rows))
    parts, start = [], 0
    for size in batches(len(rows), subject.level.resolution):
        real = blended(split, subject.level.resolution, subject.level.blend, start, size)
        parts.append(subject.encoded(subject.batch(0, size, real)))
        start += size
    labels = attributes.binary_labels(dataset, "train", values, rows) if values else np.empty((len(rows), 0), np.int64)
    labels[
        np.isin(rows, list(split.replaced))
    ] = -1  # damaged images are replaced by others, to which the labels do not belong
    source = f"codes of {len(rows):,} train images with their own attributes"
    return Coded(torch.cat(parts).numpy(), labels, dict(zip(values, labels.T, strict=True)), source)


def _made(subject: Subject, dataset: Dataset, images: int) -> Coded:
    found = attributes.ensure_attributes(dataset)
    codes, probabilities, start = [], [], 0
    for number, size in enumerate(batches(images, subject.level.resolution)):
        drawn = CodedSamples().draw(subject, (dataset,), number, start, size)
        assert drawn.second is not None
        codes.append(drawn.second[:, 1])
        probabilities.append(drawn.classes(found.extractor, "nearest"))
        start += size
    told = torch.cat(probabilities).numpy()
    labels = (told > 0.5).astype(np.int64)
    sure = {}
    for place, name in enumerate(found.names):
        sure[name] = np.full(images, -1)
        rows = most_confident(told[:, place], images // 2)
        sure[name][rows] = labels[rows, place]
    source = f"the more confident half of {images:,} samples, labelled by the dataset's classifier"
    return Coded(torch.cat(codes).numpy(), labels, sure, source)


def table(found: Found) -> str:
    """Return one line per attribute: accuracy of its plane, share of the second value, and its page."""
    width = max(map(len, found.directions))
    return "\n".join(
        f"{name:<{width}}  {direction.accuracy:6.1%} of held-out codes correct, {direction.share:6.1%} have it  "
        f"{found.figures[name]}"
        for name, direction in found.directions.items()
    )
