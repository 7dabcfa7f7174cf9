"""Search with ASHA over an Experiment (Li et al. 2020), which stops the worse half of the trials at each rung."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from pipelines.evaluation import requirements
from pipelines.experiment import Experiment, metric_choice
from pipelines.experiment.metric_choice import Deciding
from pipelines.runs.monitor import Watch
from pipelines.runs.run import Run
from pipelines.storage.address import redact
from pipelines.tracking.track import replica
from pipelines.training import places, preflight
from pipelines.training.trainer import connect
from tuning import space, summary
from tuning.parent import parent_run
from tuning.trial import PROGRESS, alarmed, run_name, trial

log = logging.getLogger(__name__)

TRIAL_CPUS = 0.01
"""The trial's own process only waits; its training run asks for what it needs."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How many runs are tried, and which metric decides."""

    trials: int = 8
    concurrent: int = 1
    metric: str | None = None
    """A metric of evaluation.metrics, with or without `eval/`. None: tracking.best_metric, else the first one for which
    lower or higher is better."""
    reduction_factor: int = 2
    stop_on_alarm: bool = True
    """End a trial whose alarm says that it cannot become good."""


def search(
    experiment: Experiment, spaces: Iterable[str] = (), config: SearchConfig | None = None
) -> list[summary.TrialResult]:
    """Run the search and return its trials, best first; without `spaces`, over what the algorithm declares.

    Raises ValueError for what the user can mend.
    """
    config = config or SearchConfig()
    decides = _deciding(experiment, config)
    # Tune runs every trial in a folder of its own.
    experiment = places.reachable(experiment)
    spaces = tuple(spaces) or space.default(experiment)
    sampled = space.parse(experiment, spaces)
    datasets = preflight.check(experiment)
    requirements.prepare(metric_choice.metric_names(experiment.evaluation, len(datasets)), datasets)
    connect()
    preflight.check_capacity(experiment, runs=config.concurrent)
    with parent_run(experiment, list(spaces), config.trials, decides) as (experiment, parent):
        results = _tuner(experiment, sampled, config, decides).fit()
        trials = summary.ranked(results, decides)
        for found in trials:
            best = found is trials[0] and found.value is not None and found.alarm is None
            _complete_tracking(
                Run.of(replace(experiment, name=run_name(experiment, found.name))), experiment.name if best else None
            )
        parent.result(trials)
    return trials


def _deciding(experiment: Experiment, config: SearchConfig) -> Deciding:
    if not experiment.evaluation.enabled:
        raise ValueError("evaluation.enabled=false gives a search nothing to compare; use evaluation.enabled=true")
    found = metric_choice.deciding(experiment, config.metric, setting="--metric")
    if found is None:
        raise ValueError(
            f"evaluation.metrics={','.join(experiment.evaluation.metrics or ())} measure nothing of which one side is better, "
            "so that a search has nothing to compare; add a distance, such as fd_pixels5k"
        )
    return found


def _tuner(experiment: Experiment, sampled: dict[str, object], config: SearchConfig, decides: Deciding) -> tune.Tuner:
    run = Run.of(experiment)
    folder, _, name = run.url.rpartition("/")
    trainable = tune.with_resources(
        partial(trial, base=experiment.to_json(), metric=decides.logged, stop_on_alarm=config.stop_on_alarm),
        {"CPU": TRIAL_CPUS},
    )
    return tune.Tuner(
        trainable,
        param_space=sampled,
        tune_config=tune.TuneConfig(
            num_samples=config.trials,
            scheduler=_scheduler(experiment, config, decides),
            # Its own limit: TuneConfig's is ignored beside a generator, and more trials at once would starve Ray Data.
            search_alg=BasicVariantGenerator(random_state=experiment.seed, max_concurrent=config.concurrent),
        ),
        run_config=tune.RunConfig(name=f"{name}-search", storage_path=folder, verbose=0, stop=alarmed),
    )


def _scheduler(experiment: Experiment, config: SearchConfig, decides: Deciding) -> ASHAScheduler:
    """ASHA whose first rung is the first evaluation."""
    rung, total = experiment.evaluation_nimg, experiment.schedule.total_nimg
    return ASHAScheduler(
        time_attr=PROGRESS,
        metric=decides.logged,
        mode=decides.mode,
        # Beyond the end: a trial that gets there ends by itself, and its records with it.
        max_t=total + rung,
        grace_period=min(rung, total),
        reduction_factor=config.reduction_factor,
    )


def _complete_tracking(run: Run, promoted_as: str | None) -> None:
    """Push to MLflow what it lacks of a trial: one that is stopped early is killed, and its own tracking with it.

    The best checkpoint of the trial that is promoted becomes a version of the registered model `promoted_as`.
    """
    try:
        experiment = run.experiment()
        Watch(experiment, run.history).note(run.url)
        mlflow = replica(experiment, run, registered_as=promoted_as)
        if mlflow is not None:
            status = "FINISHED" if run.finished_at(experiment) else "KILLED"
            mlflow.sync(final=True, status=status, register=promoted_as is not None)
    except Exception as error:
        log.warning("MLflow lacks a part of the trial %s: %s", run.url, redact(str(error)))
