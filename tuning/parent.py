"""The MLflow run of a search: the trials are nested under it, it lives as long as they do, and its note says what won."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import Deciding
from pipelines.storage.address import redact
from pipelines.tracking.mlflow_run import connect, experiment_id
from pipelines.tracking.origin import Origin
from pipelines.tracking.replica import NOTE_TAG
from tuning.summary import TrialResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST_ROWS = 30

log = logging.getLogger(__name__)


class Parent:
    """The parent run of a search; without a tracking uri, nothing."""

    def __init__(self, client: "MlflowClient | None", run_id: str, question: str, decides: Deciding) -> None:
        self._client, self._run_id, self._question, self._decides = client, run_id, question, decides

    def result(self, trials: Sequence[TrialResult]) -> None:
        """Write down the trials, best first, and the best value."""
        if self._client is None:
            return
        try:
            best = next((trial for trial in trials if trial.value is not None and trial.alarm is None), None)
            self._client.set_tag(self._run_id, NOTE_TAG, f"{self._question}\n\n{table(trials, self._decides)}")
            if best and best.value is not None:
                self._client.log_metric(self._run_id, f"best_trial/{self._decides.key}", best.value)
                self._client.set_tag(self._run_id, "alae.best_trial", best.name)
        except Exception as error:
            log.warning("MLflow lacks the result of the search: %s", redact(str(error)))


@contextmanager
def parent_run(
    experiment: Experiment, spaces: Sequence[str], trials: int, decides: Deciding
) -> Iterator[tuple[Experiment, Parent]]:
    """The experiment with the parent run of its trials, which ends with the block: FINISHED, or FAILED after an exception.

    An experiment that is not tracked comes back as it is.
    """
    tracking, question = experiment.tracking, _question(spaces, trials, decides)
    if tracking.uri is None:
        yield experiment, Parent(None, "", question, decides)
        return
    client = connect(tracking.uri)
    origin = Origin.of(experiment, experiment.training.storage)
    tags = origin.tags() | origin.source() | {NOTE_TAG: f"{question}\n\nThe search is running.", "alae.study": "search"}
    where = experiment_id(client, tracking.experiment, tracking.uri)
    run_id = client.create_run(where, tags=tags, run_name=f"{experiment.name} search").info.run_id
    status = "FAILED"
    try:
        nested = replace(experiment, tracking=replace(tracking, parent_run_id=run_id))
        yield nested, Parent(client, run_id, question, decides)
        status = "FINISHED"
    finally:
        try:
            client.set_terminated(run_id, status)
        except Exception as error:
            log.warning("MLflow does not know that the search has ended: %s", redact(str(error)))


def table(trials: Sequence[TrialResult], decides: Deciding) -> str:
    """The trials as a Markdown table, best first, with the winner in a sentence above."""
    settings = list(dict.fromkeys(path for trial in trials for path in trial.config))
    head = [
        "trial",
        "kimg",
        f"{decides.key} ({'higher' if decides.higher else 'lower'} is better)",
        *settings,
        "ended by",
    ]
    rows = [
        [
            trial.name,
            f"{trial.kimg:g}",
            "-" if trial.value is None else f"{trial.value:.4g}",
            *(f"{trial.config.get(path, '-')}" for path in settings),
            trial.alarm or trial.error or "",
        ]
        for trial in trials[:MOST_ROWS]
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n\n".join([_winner(trials), "\n".join(lines)])


def _winner(trials: Sequence[TrialResult]) -> str:
    best = trials[0] if trials else None
    if best is None or best.value is None or best.alarm:
        return "**No trial has a result.**"
    chosen = " ".join(f"{path}={value}" for path, value in best.config.items())
    return f"**Best: {best.name}** with `{chosen}`, checkpoint `{redact(best.checkpoint)}`"


def _question(spaces: Sequence[str], trials: int, decides: Deciding) -> str:
    searched = "\n".join(f"- `{space}`" for space in spaces)
    side = "highest" if decides.higher else "lowest"
    return f"{trials} trials by ASHA (Ray Tune) for the {side} `{decides.key}` over:\n\n{searched}"
