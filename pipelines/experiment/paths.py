"""An experiment's local paths, made absolute: Ray's actors and tasks run in folders of their own."""

from dataclasses import replace
from pathlib import Path

from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.storage.address import absolute_uri


def with_absolute_paths(experiment: Experiment) -> Experiment:
    """The experiment with its local paths made absolute: Ray's actors and tasks run in folders of their own."""
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
