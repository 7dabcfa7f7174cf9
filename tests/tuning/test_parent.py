"""The MLflow run of a search lives as long as it, and says what was searched, by what, and what won."""

import pytest
from mlflow import MlflowClient

from pipelines import presets
from pipelines.experiment.metric_choice import Deciding
from pipelines.experiment.override import override
from tuning.parent import parent_run
from tuning.summary import TrialResult

pytestmark = pytest.mark.slow

WEIGHT = "algorithm.loss.latent_reconstruction_weight"
DECIDES = Deciding("fd_pixels1k", higher=False)
TRIALS = [
    TrialResult("t1", {WEIGHT: 2.0}, 1.0, DECIDES.logged, 3.5, "runs/t1/checkpoint_000000001000"),
    TrialResult("t0", {WEIGHT: 0.5}, 0.5, DECIDES.logged, 9.0, "runs/t0/checkpoint_000000000500", alarm="below"),
]


def test_the_parent_runs_while_trials_run_and_then_names_the_winner(uri: str, client: MlflowClient) -> None:
    experiment = override(presets.load("debug_mnist32_alae"), [f"tracking.uri={uri}"])
    with parent_run(experiment, [f"{WEIGHT}=loguniform(0.1,10)"], 2, DECIDES) as (nested, parent):
        run_id = nested.tracking.parent_run_id
        assert run_id is not None
        during = client.get_run(run_id)
        parent.result(TRIALS)
    after = client.get_run(run_id)
    assert (during.info.status, after.info.status) == ("RUNNING", "FINISHED")
    assert "loguniform(0.1,10)" in during.data.tags["mlflow.note.content"]
    note = after.data.tags["mlflow.note.content"]
    assert f"**Best: t1** with `{WEIGHT}=2.0`" in note and "lowest `fd_pixels1k`" in note and "| t0 |" in note
    assert after.data.metrics == {"best_trial/fd_pixels1k": 3.5}


def test_a_search_that_fails_leaves_a_failed_parent(uri: str, client: MlflowClient) -> None:
    experiment = override(presets.load("debug_mnist32_alae"), [f"tracking.uri={uri}"])
    with pytest.raises(RuntimeError), parent_run(experiment, ["a=b"], 2, DECIDES) as (nested, _):
        raise RuntimeError("no resources")
    assert client.get_run(nested.tracking.parent_run_id or "").info.status == "FAILED"


def test_an_untracked_search_has_no_parent() -> None:
    experiment = presets.load("debug_mnist32_alae")
    with parent_run(experiment, ["a=b"], 2, DECIDES) as (same, parent):
        parent.result(TRIALS)
    assert same is experiment
