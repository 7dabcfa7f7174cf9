"""`alae track`: a run's place in MLflow, and its replay after the run has ended."""

import dataclasses
import os

from pipelines.experiment import Experiment
from pipelines.experiment.metric_choice import best_metric
from pipelines.runs import checkpoint as checkpoints
from pipelines.runs.run import Run
from pipelines.storage.address import absolute_uri, redact
from pipelines.tracking.origin import Origin
from pipelines.tracking.replica import MLflowReplica, SyncResult


def replica(experiment: Experiment, run: Run, registered_as: str | None = None) -> MLflowReplica | None:
    """The MLflow side of a run; None without a tracking uri. `registered_as` names its registered model, by default the run."""
    config = experiment.tracking
    if config.uri is None:
        return None
    origin = Origin.of(experiment, run.url, _commit(run))
    return MLflowReplica(
        uri=config.uri,
        experiment=config.experiment,
        run_name=experiment.name,
        params=origin.params(),
        tags={
            **origin.tags(),
            **{f"alae.change/{number}": str(change) for number, change in enumerate(run.changes(), 1)},
        },
        spool=run.spool,
        run_url=run.url,
        parent_run_id=config.parent_run_id,
        best_metric=best_metric(experiment),
        registered_as=registered_as,
        origin=origin,
    )


def _commit(run: Run) -> str | None:
    """The commit that wrote the run's newest checkpoint; None if there is none, or it cannot be read."""
    try:
        newest = checkpoints.latest(run.url)
        return checkpoints.read_manifest(newest.url).get("commit") if newest else None
    except (OSError, ValueError, RuntimeError):
        return None


def replay(run_url: str, uri: str | None) -> SyncResult:
    """Push to MLflow what it lacks of a run that has ended; raises ValueError if there is no run or no server."""
    run = Run(run_url.rstrip("/"))
    experiment = _as_last_saved(run)
    if uri is not None:
        experiment = dataclasses.replace(
            experiment,
            tracking=dataclasses.replace(experiment.tracking, uri=absolute_uri(uri, os.getcwd())),
        )
    mlflow = replica(experiment, run)
    if mlflow is None:
        raise ValueError(f"the run {experiment.name!r} was not tracked; name an MLflow server with --uri")
    try:
        ended = run.finished_at(experiment) is not None
        return mlflow.sync(final=ended, status="FINISHED" if ended else None)
    except Exception as error:
        where = redact(experiment.tracking.uri or "")
        raise RuntimeError(f"MLflow at {where} does not take the run: {redact(str(error))}") from error


def _as_last_saved(run: Run) -> Experiment:
    """The run's experiment, judged as its newest checkpoint says: a resume may have changed what is measured."""
    experiment, newest = run.changed(run.experiment()), checkpoints.latest(run.url)
    if newest is None:
        return experiment
    saved = checkpoints.read_experiment(newest.url)
    judged = dataclasses.replace(experiment.tracking, best_metric=saved.tracking.best_metric)
    return dataclasses.replace(experiment, evaluation=saved.evaluation, tracking=judged)
