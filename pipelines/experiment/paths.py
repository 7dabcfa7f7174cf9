"""Addresses in an experiment: those that are local paths, and their absolute forms."""

import re
import urllib.parse
from dataclasses import replace
from pathlib import Path

from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.storage.address import absolute_uri

TRACKING = "tracking.uri"
PLACES = (
    "data.path",
    "training.storage",
    "training.init_from",
    "training.vgg16_weights",
    "evaluation.inception_weights",
    "evaluation.vgg16_weights",
    "evaluation.lpips_heads",
    "evaluation.alexnet_weights",
    "evaluation.alexnet_heads",
    TRACKING,
)
"""The fields that hold an address."""


def local_places(experiment: Experiment) -> dict[str, Path]:
    """The local paths of an experiment by dotted field, relative ones as they are; URLs of stores and servers are left out."""
    values = experiment.flatten()
    given = {field: str(values[field]) for field in PLACES if values[field] is not None}
    found = {field: _tracked(url) if field == TRACKING else _stored(url) for field, url in given.items()}
    return {field: path for field, path in found.items() if path is not None}


def _stored(url: str) -> Path | None:
    return Path(url.removeprefix("file://")).expanduser() if storage.is_local(url) else None


def _tracked(uri: str) -> Path | None:
    """The file or folder in which MLflow writes, or None for a server."""
    if sqlite := re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri):
        return Path(sqlite[1])
    if uri.startswith("file:"):
        return Path(urllib.parse.urlsplit(uri).path)
    return None if ":" in uri or uri.startswith("databricks") else Path(uri)


def with_absolute_paths(experiment: Experiment) -> Experiment:
    """Return the experiment with its local paths made absolute, from the current directory; URLs are unchanged."""
    training, tracking, evaluation = experiment.training, experiment.tracking, experiment.evaluation
    init_from = training.init_from and _absolute(training.init_from)
    vgg16_weights = training.vgg16_weights and _absolute(training.vgg16_weights)
    uri = tracking.uri and absolute_uri(tracking.uri, Path.cwd())
    return replace(
        experiment,
        evaluation=replace(
            evaluation,
            inception_weights=evaluation.inception_weights and _absolute(evaluation.inception_weights),
            vgg16_weights=evaluation.vgg16_weights and _absolute(evaluation.vgg16_weights),
            lpips_heads=evaluation.lpips_heads and _absolute(evaluation.lpips_heads),
            alexnet_weights=evaluation.alexnet_weights and _absolute(evaluation.alexnet_weights),
            alexnet_heads=evaluation.alexnet_heads and _absolute(evaluation.alexnet_heads),
        ),
        data=replace(experiment.data, path=_absolute(experiment.data.path)),
        training=replace(
            training, storage=_absolute(training.storage), init_from=init_from, vgg16_weights=vgg16_weights
        ),
        tracking=replace(tracking, uri=uri),
    )


def _absolute(url: str) -> str:
    return str(storage.local_path(url).absolute()) if storage.is_local(url) else url
