"""One run inside MLflow: finding or creating it, what it has already, and the pushes that add to it.

Nothing here is written twice: MLflow's own history, asked on opening, says what is there.
"""

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.runs import layout
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.history import Tick
from pipelines.storage.address import is_s3, redact
from pipelines.tracking import names, pages
from pipelines.tracking.names import EVALUATION_MARKER, TICK_MARKER

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, Metric, Run
    from PIL.Image import Image

    from pipelines.tracking.models import Models

RUN_TAG = "alae.run"
CONTEXT_TAG = "mlflow.data.context"

# MLflow's own limits.
METRICS_PER_BATCH = 1000
NAME_LENGTH = 250
PARAM_LENGTH = 6000

# One short attempt per request: whoever syncs does the waiting and the repeating.
HTTP_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}

log = logging.getLogger(__name__)


class RemoteRun:
    """The part of one run that MLflow has already, asked once, and the pushes that add to it."""

    def __init__(self, client: "MlflowClient", run: "Run", models: "Models") -> None:
        self.client, self.run, self.run_id, self.models = client, run, run.info.run_id, models
        earlier = names.EARLIER_MARKERS if self._steps(names.EARLIER_MARKERS[TICK_MARKER]) else {}
        # A run that was tracked under the earlier names keeps them: half a curve under each would be none.
        self._metric_name: Callable[[str], str] = str if earlier else names.metric
        self._image_key: Callable[[str], str] = str if earlier else names.figure
        self.tick_marker = earlier.get(TICK_MARKER, TICK_MARKER)
        self.evaluation_marker = earlier.get(EVALUATION_MARKER, EVALUATION_MARKER)
        self.ticks = self._steps(self.tick_marker)
        self.evaluations = self._steps(self.evaluation_marker)
        self.figures: set[tuple[str, int]] = set()
        self.overview: int | None = None
        """nimg of the pages in the note's picture, where this writer has pushed it."""
        self.opening: dict[str, int] = {}
        """Key -> Unix time in ms of its picture at step 0, where MLflow's slider begins."""
        for key, step, stamp in _logged_figures(client, self.run_id):
            self.figures.add((key, step))
            if step == 0:
                self.opening[key] = max(stamp, self.opening.get(key, 0))
        inputs = run.inputs.dataset_inputs if run.inputs else []
        self.datasets = {(each.dataset.name, each.dataset.digest) for each in inputs}
        self.tags = dict(run.data.tags)

    def _steps(self, marker: str) -> set[int]:
        return {point.step for point in self.client.get_metric_history(self.run_id, marker)}

    def describe(self, params: Mapping[str, str], tags: Mapping[str, str], source: Mapping[str, str]) -> None:
        """Adds what is new; a param keeps its first value for ever, so a changed one is warned about.

        `source` holds tags that stay as they were first set.
        """
        from mlflow.entities import Param

        logged = self.run.data.params
        params = {_name(name): value[:PARAM_LENGTH] for name, value in params.items()}
        changed = sorted(name for name, value in params.items() if logged.get(name, value) != value)
        if changed:
            log.warning("MLflow keeps the first value of params that have changed: %s", ", ".join(changed))
        new_params = [Param(name, value) for name, value in params.items() if name not in logged]
        self.client.log_batch(self.run_id, params=new_params)
        self.label({name: value for name, value in source.items() if name not in self.tags} | dict(tags))

    def label(self, tags: Mapping[str, str]) -> None:
        """Sets the tags that are not so yet."""
        from mlflow.entities import RunTag

        new = {_name(name): value for name, value in tags.items() if self.tags.get(_name(name)) != value}
        if new:
            self.client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in new.items()])
            self.tags |= new

    def has_figure(self, key: str, nimg: int) -> bool:
        return (_name(names.figure(key)), nimg) in self.figures

    def push_ticks(self, ticks: Iterable[Tick]) -> int:
        missing = [tick for tick in ticks if tick.nimg not in self.ticks]
        marker = self.tick_marker
        groups = (_metrics(self._named(tick.metrics), marker, tick.nimg, tick.time) for tick in missing)
        for batch in _batches(groups):
            self.client.log_batch(self.run_id, metrics=batch)
            self.ticks |= {metric.step for metric in batch if metric.key == marker}
        return len(missing)

    def push_evaluation(self, evaluation: Evaluation) -> int:
        """Adds an evaluation's metrics, linked to its checkpoint's logged model and to its dataset.

        One that was taken beside the run's own adds what is not known of its checkpoint yet.
        """
        nimg, metrics = evaluation.nimg, self._named(evaluation.metrics)
        if nimg in self.evaluations and evaluation.own:
            return 0
        if not evaluation.own:
            metrics = {name: value for name, value in metrics.items() if nimg not in self._steps(_name(name))}
            if not any(value is not None for value in metrics.values()):
                return 0
        marker = self.evaluation_marker if evaluation.own else None
        model_id = self.models.id_of(nimg) if evaluation.checkpoint else None
        found = _metrics(metrics, marker, nimg, evaluation.time, model_id, self._dataset(evaluation))
        for batch in _batches([found]):
            self.client.log_batch(self.run_id, metrics=batch)
        if evaluation.own:
            self.evaluations.add(nimg)
        return 1

    def _named(self, metrics: Mapping[str, float | None]) -> dict[str, float | None]:
        return {self._metric_name(name): value for name, value in metrics.items()}

    def _dataset(self, evaluation: Evaluation) -> tuple[str, str] | None:
        """Name and digest of the dataset, which becomes an input of the run."""
        from mlflow.entities import Dataset

        if evaluation.dataset is None:
            return None
        name, digest = _name(evaluation.dataset["name"]), evaluation.dataset["digest"]
        url = redact(evaluation.dataset["url"])
        packed = Dataset(name, digest, "s3" if is_s3(url) else "local", json.dumps({"uri": url}))
        return self.push_dataset(packed, "evaluation")

    def push_dataset(self, dataset: "Dataset", context: str) -> tuple[str, str]:
        """Makes a dataset an input of the run, unless it is one; returns its name and digest."""
        from mlflow.entities import DatasetInput, InputTag

        key = dataset.name, dataset.digest
        if key not in self.datasets:
            self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag(CONTEXT_TAG, context)])])
            self.datasets.add(key)
        return key

    def push_figure(self, key: str, nimg: int, seconds: float, png: bytes) -> None:
        """Adds one step of the figure's slider, of `seconds` Unix time; raises FigureError if the bytes are no image."""
        self._log_image(key, nimg, seconds, pages.decode(png))
        self.figures.add((_name(names.figure(key)), nimg))

    def push_opening(self, key: str, nimg: int, seconds: float, png: bytes) -> None:
        """Puts a figure where the slider begins, which is step 0; the newest one there is the one that is shown."""
        chart = key.startswith(f"{layout.CHARTS}/")
        self._log_image(key, 0, seconds, pages.tile(pages.decode(png), f"newest: {nimg / 1000:g} kimg", whole=chart))
        self.opening[_name(names.figure(key))] = round(seconds * 1000)

    def _log_image(self, key: str, step: int, seconds: float, image: "Image") -> None:
        key, stamp = _name(self._image_key(key)), round(seconds * 1000)
        self.client.log_image(self.run_id, image, key=key, step=step, timestamp=stamp, synchronous=True)

    def opens_with(self, key: str, seconds: float) -> bool:
        """Whether the picture at step 0 is of this time, or of a later one."""
        return self.opening.get(_name(names.figure(key)), -1) >= round(seconds * 1000)

    def push_artifact(self, path: str, data: bytes) -> None:
        """Writes a file among the run's artifacts, over the one of that path."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            file.write_bytes(data)
            self.client.log_artifact(self.run_id, str(file), folder or None)

    def end(self, status: str, seconds: float) -> None:
        """Ends the run at a Unix time, or now if that is 0; one that has ended so keeps its time."""
        info = self.client.get_run(self.run_id).info
        if info.status == status and info.end_time:
            return
        self.client.set_terminated(self.run_id, status, round(seconds * 1000) or None)


def connect(uri: str) -> "MlflowClient":
    """A client of its own, so that MLflow's process-wide tracking URI stays untouched."""
    for name, value in HTTP_LIMITS.items():
        os.environ.setdefault(name, value)
    # MLflow would print the tracking URI when a run ends, with any credentials in it.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    from mlflow import MlflowClient

    database = sqlite_file(uri)
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def get_run(client: "MlflowClient", run_id: str | None) -> "Run | None":
    """The run with this id, or None if it is not, or no longer, there."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def find_run(client: "MlflowClient", experiment_id: str, tag: str) -> "Run | None":
    """The newest run of the experiment whose `alae.run` is `tag`."""
    quote = '"' if "'" in tag else "'"
    found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = {quote}{tag}{quote}", max_results=1)
    return found[0] if found else None


def has_registry(uri: str) -> bool:
    """Whether the tracking server at `uri` is also a model registry: a database or a server, not a folder of files."""
    return "://" in uri and not uri.startswith("file:")


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """The id of the experiment, created if need be; raises RuntimeError if it was deleted."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(uri))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise RuntimeError(f"tracking.experiment={name!r} was deleted in MLflow; restore it or use another name")
    return experiment.experiment_id


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for another one."""
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(match[1]) if match else None


def _artifact_location(uri: str) -> str | None:
    # MLflow's own choice for a bare database is ./mlruns in whatever folder the process happens to be.
    database = sqlite_file(uri)
    return str(database.parent / "mlartifacts") if database else None


def _metrics(
    values: Mapping[str, float | None],
    marker: str | None,
    nimg: int,
    seconds: float,
    model_id: str | None = None,
    dataset: tuple[str, str] | None = None,
) -> list["Metric"]:
    """The record as MLflow metrics, its marker last: a marker that arrived says that all before it did."""
    from mlflow.entities import Metric

    marked = {_name(name): value for name, value in values.items() if value is not None and name != marker}
    if marker is not None:
        marked[marker] = nimg
    stamp = round(seconds * 1000)
    return [Metric(name, value, stamp, nimg, model_id, *(dataset or (None, None))) for name, value in marked.items()]


def _batches(groups: Iterable[list["Metric"]]) -> Iterator[list["Metric"]]:
    """Packs groups into batches that MLflow accepts; a group is split only if it exceeds a batch alone."""
    batch: list[Metric] = []
    for group in groups:
        if len(batch) + len(group) > METRICS_PER_BATCH:
            yield batch
            batch = []
        batch = batch + group
        while len(batch) > METRICS_PER_BATCH:
            yield batch[:METRICS_PER_BATCH]
            batch = batch[METRICS_PER_BATCH:]
    yield batch


def _logged_figures(client: "MlflowClient", run_id: str) -> Iterator[tuple[str, int, int]]:
    """Key, step and time in ms of each image; those of earlier versions under their new keys."""
    for artifact in client.list_artifacts(run_id, "images"):
        match = re.match(r"images/(.+)\+step\+(\d+)\+timestamp\+(\d+).*\.png$", artifact.path)
        if match:
            yield names.figure(match[1].replace("~", "/")), int(match[2]), int(match[3])


def _name(name: str) -> str:
    # One name that MLflow refuses would keep a whole batch out for ever.
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", name)[:NAME_LENGTH]
