"""The checks on the driver before any resource is taken."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import ray

from pipelines import storage
from pipelines.data.domains import open_datasets
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import requirements
from pipelines.evaluation.features import weights
from pipelines.experiment import Experiment
from pipelines.experiment.paths import local_places
from pipelines.runs import checkpoint, layout
from pipelines.runs.run import Run
from pipelines.storage.errors import raise_if_bucket_missing
from pipelines.training import perceptual, places


@storage.patience(0)
def check(experiment: Experiment) -> tuple[Dataset, ...]:
    """Raise ValueError with a sentence unless the experiment, its datasets and its storage fit; opens a dataset per domain.

    A store that does not answer is not waited for: the address may be wrong.
    """
    experiment.validate()
    datasets = _fitting_datasets(experiment)
    storage.check_writable(experiment.training.storage)
    _check_init_from(experiment)
    _check_loss_weights(experiment)
    return datasets


@storage.patience(0)
def check_from_client(experiment: Experiment, *, several: bool) -> list[str]:
    """Check what a client can know of a run on a cluster; returns warnings, one for each store that it cannot look into.

    `several`: the cluster is not this machine alone. Raises ValueError for a place out of the cluster's reach, a dataset that
    its store says is not there or that does not fit, and a bucket that does not exist.
    """
    experiment.validate()
    places.refuse(experiment, job=True, several=several or experiment.scaling.autoscaling, folder=Path.cwd())
    warnings = list(_own_loopback(experiment)) if several else []
    local = local_places(experiment)
    looks: dict[str, Callable[[Experiment], object]] = {
        "data.path": _fitting_datasets,
        "training.storage": _check_storage,
        "training.init_from": _check_init_from,
        "training.vgg16_weights": _check_loss_weights,
    }
    for field, look in looks.items():
        if several and field in local:  # a folder that the cluster's machines mount; this one need not
            continue
        try:
            look(experiment)
        except (storage.StorageUnreachableError, storage.StorageDeniedError) as error:
            if field in local:
                raise
            warnings.append(f"{field} is not checked from here, and the job checks it again: {error}")
    return warnings


def _own_loopback(experiment: Experiment) -> Iterator[str]:
    if re.match(r"https?://(localhost|127\.|\[::1\])", experiment.tracking.uri or ""):
        yield f"tracking.uri={experiment.tracking.uri} means on the cluster a server on each of its own machines"


def _check_storage(experiment: Experiment) -> None:
    url = experiment.training.storage
    if storage.is_local(url):
        storage.check_writable(url)
    else:  # the cluster's rights may be others than those here, so nothing is written
        raise_if_bucket_missing(url)


def _fitting_datasets(experiment: Experiment) -> tuple[Dataset, ...]:
    datasets = open_datasets(experiment.data.path, experiment.domains, experiment.data.damaged)
    _check_same_channels(datasets)
    for dataset in datasets:
        _check_dataset(experiment, dataset)
    requirements.check_experiment(experiment, datasets)
    return datasets


def _check_same_channels(datasets: tuple[Dataset, ...]) -> None:
    first, last = datasets[0], datasets[-1]
    if first.channels != last.channels:
        raise ValueError(
            f"the images of {first.url} have {first.channels} channels and those of {last.url} have {last.channels}; pack "
            "both again with the same --channels"
        )


def _check_dataset(experiment: Experiment, dataset: Dataset) -> None:
    finest = experiment.schedule.resolutions[-1]
    if finest > dataset.resolution:
        raise ValueError(
            f"schedule.resolutions reaches {finest} px, but the dataset {dataset.url} ends at "
            f"{dataset.resolution} px; pack it again with --resolution {finest}, or end the schedule at "
            f"{dataset.resolution}"
        )
    if experiment.algorithm.channels != dataset.channels:
        raise ValueError(
            f"algorithm.channels={experiment.algorithm.channels}, but the images of {dataset.url} have "
            f"{dataset.channels}; use algorithm.channels={dataset.channels}"
        )


def _check_init_from(experiment: Experiment) -> None:
    source = experiment.training.init_from
    if source is None or checkpoint.latest(Run.of(experiment).url) is not None:
        return
    try:
        checkpoint.read_manifest(source)
    except storage.StorageError as error:
        raise type(error)(f"training.init_from: {error}") from error
    except ValueError as error:
        raise ValueError(f"training.init_from: {error}") from error


def _check_loss_weights(experiment: Experiment) -> None:
    if experiment.training.vgg16_weights:
        weights.check_exists(perceptual.WEIGHTS, experiment.training.vgg16_weights)


@storage.patience(0)
def file_digests(experiment: Experiment) -> dict[str, str]:
    """SHA-256 of the files that shape the run beside its datasets, by the field that names each.

    A checkpoint in training.init_from is known by its state; one that is gone is left out. Raises ValueError where
    training.vgg16_weights is not a file that `weights.read` takes.
    """
    found, training = {}, experiment.training
    if training.vgg16_weights is not None:
        found["training.vgg16_weights"] = weights.digest(perceptual.WEIGHTS, training.vgg16_weights)
    if training.init_from is not None:
        with suppress(ValueError, KeyError):
            found["training.init_from"] = checkpoint.read_manifest(training.init_from)["files"][layout.STATE]["sha256"]
    return found


def check_capacity(experiment: Experiment, runs: int = 1) -> None:
    """Raise ValueError if `runs` such runs leave Ray Data or the evaluation no CPU: they would wait for ever, silently."""
    scaling = experiment.scaling
    if scaling.autoscaling:
        return
    total = ray.cluster_resources()
    beside = scaling.cpus_per_data_task + (scaling.cpus_per_evaluation if experiment.evaluation.enabled else 0.0)
    cpus = total.get("CPU", 0.0) / runs
    wanted = scaling.workers * scaling.cpus_per_worker
    share = "" if runs == 1 else f" for each of {runs} runs at a time"
    if wanted + beside > cpus + 1e-9:
        # Rounded down: what is named must not be refused again.
        most = math.floor(100 * (cpus - beside) / scaling.workers + 1e-6) / 100
        fitting = f"scaling.cpus_per_worker={most:g} or less, fewer workers, or " if most > 0 else ""
        readers = "Ray Data and the evaluation need" if experiment.evaluation.enabled else "Ray Data needs"
        raise ValueError(
            f"scaling.workers={scaling.workers} x scaling.cpus_per_worker={scaling.cpus_per_worker:g} leaves "
            f"{cpus - wanted:g} of {cpus:g} CPUs{share}, and {readers} {beside:g}; use "
            f"{fitting}smaller scaling.cpus_per_data_task and scaling.cpus_per_evaluation"
        )
    gpus, offered = scaling.workers * scaling.gpus_per_worker, total.get("GPU", 0.0) / runs
    if gpus > offered:
        raise ValueError(
            f"scaling.workers={scaling.workers} x scaling.gpus_per_worker={scaling.gpus_per_worker:g} asks for {gpus:g} "
            f"of {offered:g} GPUs{share}; use scaling.gpus_per_worker=0, or scaling.autoscaling=true where the cluster "
            "grows on demand"
        )
