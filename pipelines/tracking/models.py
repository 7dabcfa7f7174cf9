"""A run's checkpoints in MLflow: each that was evaluated is a logged model, and the best of them is tagged and registered.

A logged model's files stay where they are; its tags and those of the registered version say where.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pipelines.storage.address import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

CHECKPOINT_TAG = "alae.checkpoint"
BEST_TAG = "alae.best"
ALIAS = "best"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Best:
    """The best checkpoint of a run."""

    metric: str
    """The metric that decides."""
    checkpoint: str
    """Where it was saved."""
    place: str | None
    """Where it lies; None where it does no more."""


class Models:
    """The logged models of one run; `registry` is the name the best is registered under, None where there is no registry."""

    def __init__(self, client: "MlflowClient", run: "Run", registry: str | None) -> None:
        self._client, self._run, self._registry = client, run, registry
        self._marked: Best | None = None
        self._complained = False

    def id_of(self, checkpoint: str) -> str:
        """The id of the logged model that stands for a checkpoint, made if it is not there."""
        name = re.sub(r"[/:.%\"']", "_", PurePosixPath(checkpoint.rstrip("/")).name)
        found = next(self._search(f"name = '{name}'"), None)
        model = found or self._create(name, checkpoint)
        if model.status != "READY":
            self._client.finalize_logged_model(model.model_id, "READY")
        return model.model_id

    def mark_best(self, best: Best) -> None:
        """Move tag and alias to the best checkpoint; asks MLflow nothing if they are there already."""
        if best == self._marked:
            return
        model_id = self.id_of(best.checkpoint)
        self._client.set_logged_model_tags(model_id, {BEST_TAG: best.metric})
        for other in self._search(f"tags.`{BEST_TAG}` LIKE '%'"):
            if other.model_id != model_id:
                self._client.delete_logged_model_tag(other.model_id, BEST_TAG)
        if self._try_to_register(model_id, best):
            self._marked = best

    def _try_to_register(self, model_id: str, best: Best) -> bool:
        """A registry that refuses keeps nothing else out; it is asked again at the next sync."""
        from mlflow.exceptions import MlflowException

        if self._registry is None or best.place is None:
            return True
        try:
            self._register(self._registry, model_id, redact(best.place))
        except MlflowException as error:
            if not self._complained:
                log.warning("MLflow's registry does not take the best checkpoint: %s", redact(str(error)))
            self._complained = True
            return False
        return True

    def _register(self, name: str, model_id: str, place: str) -> None:
        registered = self._client.search_registered_models(f"name = '{name}'")
        if not registered:
            self._client.create_registered_model(name)
        version = self._version(name, place) or self._client.create_model_version(
            name,
            self._client.get_logged_model(model_id).artifact_location,
            self._run.info.run_id,
            tags={CHECKPOINT_TAG: place},
            model_id=model_id,
            await_creation_for=0,
        )
        if version.tags.get(CHECKPOINT_TAG) != place:
            self._client.set_model_version_tag(name, version.version, CHECKPOINT_TAG, place)
        aliases = registered[0].aliases if registered else {}
        if str(aliases.get(ALIAS)) != str(version.version):
            self._client.set_registered_model_alias(name, ALIAS, version.version)

    def _version(self, name: str, place: str) -> "ModelVersion | None":
        """The version that stands for the checkpoint, wherever it lay when it was registered."""
        of_run = self._client.search_model_versions(f"name = '{name}' AND run_id = '{self._run.info.run_id}'")
        saved = PurePosixPath(place).name
        return next((each for each in of_run if PurePosixPath(each.tags.get(CHECKPOINT_TAG, "")).name == saved), None)

    def _search(self, condition: str) -> "Iterator[LoggedModel]":
        """The run's logged models that meet a condition."""
        own = f"{condition} AND source_run_id = '{self._run.info.run_id}'"
        token = None
        while True:
            page = self._client.search_logged_models([self._run.info.experiment_id], own, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _create(self, name: str, checkpoint: str) -> "LoggedModel":
        tags = {"mlflow.model.isExternal": "true", CHECKPOINT_TAG: redact(checkpoint)}
        experiment, run_id = self._run.info.experiment_id, self._run.info.run_id
        return self._client.create_logged_model(experiment, name, source_run_id=run_id, tags=tags)
