"""A run's checkpoints in MLflow: each evaluated one is a logged model; the best is tagged and, at the end, registered.

The files of a checkpoint stay where they are, and only the best one's tag names the place, since the retention deletes others.
A registered model has files of its own, so that it can be loaded anywhere.
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.runs.evaluations import Evaluation
from pipelines.storage.address import redact
from pipelines.tracking import model_files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

CHECKPOINT_TAG = "alae.checkpoint"
BEST_TAG = "alae.best"
KIMG_TAG = "alae.kimg"
VERSIONS_TAG = "mlflow.modelVersions"
NOTE_TAG = "mlflow.note.content"
EXTERNAL_TAG = "mlflow.model.isExternal"
ALIAS = "best"
DESCRIPTION_LENGTH = 5000
"""MLflow's limit."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Best:
    """The best checkpoint of a run."""

    metric: str
    """The metric that decides."""
    evaluation: Evaluation
    place: str | None
    """Where the checkpoint lies; None if it was deleted."""


class Models:
    """The logged models of one run."""

    def __init__(self, client: "MlflowClient", run: "Run") -> None:
        self._client, self._run = client, run
        self._marked: tuple[str, int, str | None] | None = None

    def id_of(self, nimg: int) -> str:
        """The id of the logged model of the checkpoint at `nimg`, created if it does not exist."""
        name = model_name(nimg)
        found = next(self._search(f"name = '{name}'"), None)
        model = found or self._create(name)
        if model.status != "READY":
            self._client.finalize_logged_model(model.model_id, "READY")
        return model.model_id

    def mark_best(self, best: Best) -> None:
        """Move the tags to the best checkpoint; asks MLflow nothing if they are there already."""
        mark = (best.metric, best.evaluation.nimg, best.place)
        if mark == self._marked:
            return
        model_id = self.id_of(best.evaluation.nimg)
        place = {} if best.place is None else {CHECKPOINT_TAG: redact(best.place)}
        self._client.set_logged_model_tags(model_id, {BEST_TAG: best.metric, **place})
        for tag in (BEST_TAG, CHECKPOINT_TAG):
            for model in self._search(f"tags.`{tag}` LIKE '%'"):
                if model.model_id != model_id or (tag == CHECKPOINT_TAG and not place):
                    self._client.delete_logged_model_tag(model.model_id, tag)
        self._marked = mark

    def register(self, name: str, best: Best, pages: Mapping[str, bytes]) -> None:
        """Make the best checkpoint a version of the registered model `name`, with its files, and move the alias to it.

        A registry that refuses is warned about. Nothing happens if the checkpoint was deleted.
        """
        from mlflow.exceptions import MlflowException

        if best.place is None:
            return
        try:
            self._register(name, best, best.place, pages)
        except MlflowException as error:
            log.warning("MLflow's registry does not take the best checkpoint: %s", redact(str(error)))

    def _register(self, name: str, best: Best, place: str, pages: Mapping[str, bytes]) -> None:
        model = self._client.get_logged_model(self.id_of(best.evaluation.nimg))
        registered = self._client.search_registered_models(f"name = '{name}'")
        if not registered:
            self._client.create_registered_model(
                name,
                description=f"The best checkpoints of the finished runs {name}; the newest is `models:/{name}@{ALIAS}`.",
            )
        versions = self._client.search_model_versions(f"name = '{name}' AND run_id = '{self._run.info.run_id}'")
        # An open-source registry knows of no model_id; the folder of the files is the model's own.
        version = next((each for each in versions if each.source == model.artifact_location), None)
        version = version or self._new_version(name, model, best, place, pages)
        for other in versions:
            if other.version != version.version and CHECKPOINT_TAG in other.tags:
                self._client.delete_model_version_tag(name, other.version, CHECKPOINT_TAG)
        if version.tags.get(CHECKPOINT_TAG) != redact(place):
            self._client.set_model_version_tag(name, version.version, CHECKPOINT_TAG, redact(place))
        # A server sets this link by itself, a database without one does not.
        link = json.dumps([{"name": name, "version": version.version}])
        self._client.set_logged_model_tags(model.model_id, {VERSIONS_TAG: link})
        aliases = registered[0].aliases if registered else {}
        if str(aliases.get(ALIAS)) != str(version.version):
            self._client.set_registered_model_alias(name, ALIAS, version.version)

    def _new_version(
        self, name: str, model: "LoggedModel", best: Best, place: str, pages: Mapping[str, bytes]
    ) -> "ModelVersion":
        run_id, model_id = self._run.info.run_id, model.model_id
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            model_files.write(folder, place, pages, run_id=run_id, model_id=model_id)
            self._client.log_model_artifacts(model_id, str(folder))
        if EXTERNAL_TAG in model.tags:
            self._client.delete_logged_model_tag(model_id, EXTERNAL_TAG)
        note = self._note(name, model_id, best, pages)
        self._client.set_logged_model_tags(model_id, {NOTE_TAG: note})
        return self._client.create_model_version(
            name,
            model.artifact_location,
            run_id,
            tags={CHECKPOINT_TAG: redact(place), BEST_TAG: best.metric, KIMG_TAG: kimg(best.evaluation.nimg)},
            description=note[:DESCRIPTION_LENGTH],
            model_id=model_id,
            await_creation_for=0,
        )

    def _note(self, name: str, model_id: str, best: Best, pages: Mapping[str, bytes]) -> str:
        """Markdown: whose checkpoint, how good, how to load it, and its pages."""
        info, view = self._run.info, "?workflowType=machine_learning"
        run = f"[{info.run_name}](#/experiments/{info.experiment_id}/runs/{info.run_id}{view})"
        model = f"[{model_name(best.evaluation.nimg)}](#/experiments/{info.experiment_id}/models/{model_id}{view})"
        files = (
            f"ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files?artifact_file_path={model_files.PICTURES}"
        )
        return "\n".join(
            [
                f"The checkpoint at **{kimg(best.evaluation.nimg)} kimg** of the run {run}, the best by `{best.metric}`; "
                f"logged model {model}.",
                f'\n`mlflow.pyfunc.load_model("models:/{name}@{ALIAS}").get_raw_model()` has `generate(n, seed=, psi=)` '
                "and `reconstruct(images)`.\n",
                *_table(best.evaluation),
                *(f"\n### {page.replace('_', ' ')}\n\n![{page}]({files}/{page}.png)" for page in pages),
            ]
        )

    def _search(self, condition: str) -> "Iterator[LoggedModel]":
        """The run's logged models that meet a condition."""
        own = f"{condition} AND source_run_id = '{self._run.info.run_id}'"
        token = None
        while True:
            page = self._client.search_logged_models([self._run.info.experiment_id], own, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _create(self, name: str) -> "LoggedModel":
        experiment, run_id = self._run.info.experiment_id, self._run.info.run_id
        return self._client.create_logged_model(experiment, name, source_run_id=run_id, tags={EXTERNAL_TAG: "true"})


def model_name(nimg: int) -> str:
    """The logged model of the checkpoint at `nimg`, such as `at_7_04_kimg`: MLflow allows no dot in it."""
    return f"at_{kimg(nimg).replace('.', '_')}_kimg"


def kimg(nimg: int) -> str:
    """Thousands of images, exactly."""
    return f"{nimg / 1000:.3f}".rstrip("0").rstrip(".")


def _table(evaluation: Evaluation) -> list[str]:
    """The estimates with their standard errors, as a Markdown table; none of a record that does not say how they were taken."""
    rows = [
        f"| {key} | {found.value:.4g} | {'' if found.standard_error is None else f'{found.standard_error:.2g}'} |"
        f" {measured.protocol.row.better} |"
        for measured in evaluation.taken()
        for key, found in measured.estimates.items()
    ]
    return ["| metric | value | standard error | better |", "|---|---|---|---|", *rows] if rows else []
