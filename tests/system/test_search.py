"""A real search: its trials are nested under one MLflow run and are ranked at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.evaluations import list_evaluations
from pipelines.tracking import mlflow_run
from tests.support.runs import local_ray
from tests.tuning.test_tuning import BASE, WEIGHT
from tuning import search
from tuning.search import SearchConfig
from tuning.summary import TrialResult

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start Ray in this process."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    with local_ray():
        yield


def test_a_search_trains_its_trials_nested_under_one_run_and_ranks_them_best_first(
    cluster: None, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = override(
        BASE,
        [
            f"data.path={tiny_dataset}",
            "training.storage=runs",
            "tracking.uri=sqlite:///mlflow.db",
            "schedule.stable_kimg=0.064",
            "schedule.fade_kimg=0",
            "training.tick_kimg=0.016",
            "training.checkpoint_ticks=2",
            "evaluation.samples=16",
            "evaluation.reconstructions=8",
            "scaling.cpus_per_worker=0.5",
            "scaling.cpus_per_data_task=0.5",
            "scaling.cpus_per_evaluation=0.25",
        ],
    )
    results = search.search(experiment, [f"{WEIGHT}=loguniform(0.1, 10)"], SearchConfig(trials=2))
    assert [result.error for result in results] == [None] * 2
    values = [result.value for result in results]
    assert None not in values and values == sorted(values)  # type: ignore[type-var]
    assert len({result.config[WEIGHT] for result in results}) == 2
    assert results[0].kimg == 0.064  # the best of a rung is never stopped
    for result in results:
        folder = tmp_path / "runs" / f"debug_mnist32_alae-{result.name}"
        assert checkpoint.read_manifest(result.checkpoint)["nimg"] == 1000 * result.kimg
        assert result.checkpoint.startswith(str(folder)) and list_evaluations(str(folder))
    _require_nested(f"sqlite:///{tmp_path}/mlflow.db", results)


def _require_nested(uri: str, results: list[TrialResult]) -> None:
    client = mlflow_run.connect(uri)
    runs = client.search_runs([client.get_experiment_by_name("alae").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == ["debug_mnist32_alae search"]
    children = {run.info.run_name: run for run in runs if run not in parents}
    assert set(children) == {f"debug_mnist32_alae-{result.name}" for result in results}
    (promoted,) = client.search_registered_models()
    version = client.get_model_version_by_alias("debug_mnist32_alae", "best")
    assert promoted.name == "debug_mnist32_alae"
    assert version.run_id == children[f"debug_mnist32_alae-{results[0].name}"].info.run_id
    for result in results:
        child = children[f"debug_mnist32_alae-{result.name}"]
        assert child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert float(child.data.params[WEIGHT]) == result.config[WEIGHT]
        measured = client.get_metric_history(child.info.run_id, result.metric)
        # A stopped trial may finish another evaluation before it is killed.
        assert {point.step: point.value for point in measured}[round(1000 * result.kimg)] == result.value
