"""What is checked on the driver before any resource is taken."""

import ray

from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.shards import Dataset


def check(experiment: Experiment) -> Dataset:
    """Raise ValueError with a sentence unless the experiment, its dataset and its storage fit; opens the dataset."""
    experiment.validate()
    dataset = Dataset.open(experiment.data.path)
    _check_dataset(experiment, dataset)
    storage.check_writable(experiment.training.storage)
    return dataset


def _check_dataset(experiment: Experiment, dataset: Dataset) -> None:
    finest = experiment.schedule.resolutions[-1]
    if finest > dataset.resolution:
        raise ValueError(
            f"schedule.resolutions reaches {finest} px, but the dataset {experiment.data.path} ends at "
            f"{dataset.resolution} px; pack it again with --resolution {finest}, or end the schedule at "
            f"{dataset.resolution}"
        )
    if experiment.algorithm.channels != dataset.channels:
        raise ValueError(
            f"algorithm.channels={experiment.algorithm.channels}, but the images of {experiment.data.path} have "
            f"{dataset.channels}; use algorithm.channels={dataset.channels}"
        )
    if experiment.evaluation.enabled and experiment.evaluation.extractor == "classifier" and not dataset.label_count:
        raise ValueError(
            f"evaluation.extractor=classifier needs labels, and {experiment.data.path} has none; use "
            "evaluation.extractor=pixels, or pack the images with labels (a folder per class)"
        )


def check_capacity(experiment: Experiment) -> None:
    """Raise ValueError if the workers would leave Ray Data or the evaluation no CPU: they would wait for ever, silently."""
    scaling = experiment.scaling
    if scaling.autoscaling:
        return
    total = ray.cluster_resources()
    beside = scaling.cpus_per_data_task + (scaling.cpus_per_evaluation if experiment.evaluation.enabled else 0.0)
    cpus, wanted = total.get("CPU", 0.0), scaling.workers * scaling.cpus_per_worker
    if wanted + beside > cpus + 1e-9:
        most = max(0.0, (cpus - beside) / scaling.workers)
        raise ValueError(
            f"scaling.workers={scaling.workers} x scaling.cpus_per_worker={scaling.cpus_per_worker:g} leaves "
            f"{cpus - wanted:g} of {cpus:g} CPUs, and Ray Data and the evaluation need {beside:g}; use "
            f"scaling.cpus_per_worker={most:.2f} or less, or fewer workers"
        )
    gpus = scaling.workers * scaling.gpus_per_worker
    if gpus > total.get("GPU", 0.0):
        raise ValueError(
            f"scaling.workers={scaling.workers} x scaling.gpus_per_worker={scaling.gpus_per_worker:g} asks for {gpus:g} "
            f"GPUs of {total.get('GPU', 0.0):g}; use scaling.gpus_per_worker=0, or scaling.autoscaling=true where the "
            "cluster grows on demand"
        )
