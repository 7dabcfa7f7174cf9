"""The dataset of a run as MLflow's training input: counts, schema and digest."""

import json
import logging
from typing import TYPE_CHECKING

from pipelines.data.domains import FOLDERS, open_datasets
from pipelines.data.format.pyramid import Manifest
from pipelines.data.format.shards import Dataset
from pipelines.experiment import Experiment
from pipelines.runs.evaluations import dataset_record
from pipelines.storage.address import is_s3, redact

if TYPE_CHECKING:
    from mlflow.entities import Dataset as Input

PROFILE_LENGTH = 16_000_000
SCHEMA_LENGTH = 1_000_000

log = logging.getLogger(__name__)


def open_all(experiment: Experiment) -> tuple[Dataset, ...]:
    """The run's datasets, one per domain; none where they cannot be read any more."""
    try:
        return open_datasets(experiment.data.path, experiment.domains)
    except (ValueError, OSError, RuntimeError) as error:
        log.info("the dataset is not described in MLflow: %s", redact(str(error)))
        return ()


def described(datasets: tuple[Dataset, ...]) -> "Input":
    """The datasets as one input of MLflow, by the name and digest that evaluations have too."""
    from mlflow.entities import Dataset as Input

    record = dataset_record(datasets)
    url = redact(record["url"])
    schema = {"mlflow_colspec": _columns(datasets[0].manifest)}
    return Input(
        name=record["name"],
        digest=record["digest"],
        source_type="s3" if is_s3(url) else "local",
        source=json.dumps({"uri": url}),
        schema=json.dumps(schema)[:SCHEMA_LENGTH],
        profile=json.dumps(profile(datasets))[:PROFILE_LENGTH],
    )


def profile(datasets: tuple[Dataset, ...]) -> dict[str, int | str]:
    """Counts of images by split, resolution, channels and classes; of two domains, counts by folder and split."""
    first = datasets[0].manifest
    counts: dict[str, int | str] = {"num_rows": sum(sum(rows(each).values()) for each in datasets)}
    for folder, dataset in zip(FOLDERS if len(datasets) > 1 else ("",), datasets, strict=False):
        for split, number in rows(dataset).items():
            counts[f"{folder}_{split}_images".lstrip("_")] = number
    return counts | {
        "resolution_px": first.resolution,
        "channels": first.channels,
        "classes": first.labels.count if first.labels else 0,
        "source": redact(str(first.source)),
    }


def sentence(datasets: tuple[Dataset, ...]) -> str:
    """The datasets in words for the note, such as `mnist32: 4,500 train and 500 validation images of 32x32 px`."""
    record, first = dataset_record(datasets), datasets[0].manifest
    counts = " and ".join(
        " and ".join(f"{number:,} {split}" for split, number in rows(each).items()) for each in datasets
    )
    kind = "grayscale" if first.channels == 1 else "colour"
    size = f"{first.resolution}x{first.resolution} px"
    return f"`{record['name']}`: {counts} {kind} images of {size}, digest `{record['digest']}`"


def rows(dataset: Dataset) -> dict[str, int]:
    """The number of images in each split."""
    return {name: split.rows for name, split in dataset.manifest.splits.items()}


def _columns(manifest: Manifest) -> list[dict[str, str | bool]]:
    types = dict.fromkeys(manifest.columns, "binary") | ({"label": "long"} if manifest.labels else {})
    return [{"type": kind, "name": name, "required": True} for name, kind in types.items()]
