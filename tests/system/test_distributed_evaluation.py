"""Distributed evaluation: networks are rebuilt from the URL, and values are equal for any number of processes."""

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayTaskError

from pipelines import presets
from pipelines.data.format.shards import Dataset
from pipelines.evaluation.evaluate import evaluate_again
from pipelines.evaluation.loading import load_subject
from pipelines.evaluation.plan import Planner
from pipelines.evaluation.runner import Shard, finish
from pipelines.evaluation.shares import Share, gather_share, measure_checkpoint
from pipelines.evaluation.tasks import apart
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs.evaluations import Measured
from tests.support import tiny
from tests.support.runs import local_ray

NAMES = ("fd_pixels0.8k", "kd_pixels0.6k_pairs", "pr_pixels0.6k3", "reciprocity0.8k", "l1_0.1k_recon")


@pytest.fixture(scope="module")
def experiment(tiny_dataset: Path) -> Experiment:
    settings = [f"data.path={tiny_dataset}", f"evaluation.metrics={','.join(NAMES)}"]
    return override(presets.load("debug_mnist32_style_alae"), settings)


@pytest.fixture(scope="module")
def url(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint at the finer level."""
    state = tiny.build(experiment)
    state.nimg = 4000
    return str(tiny.checkpointed(tmp_path_factory.mktemp("run"), state, experiment))


@pytest.fixture(scope="module")
def alone(url: str, experiment: Experiment) -> list[Measured]:
    """Metrics computed by one process."""
    _, subject, _ = load_subject(url)
    return measure_checkpoint(url, experiment, subject, (Dataset.open(experiment.data.path),), NAMES)


def require_equal(found: Sequence[Measured], expected: Sequence[Measured]) -> None:
    assert [each.protocol for each in found] == [each.protocol for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.estimates.keys() == other.estimates.keys() and one.weights == other.weights
        for key, estimate in one.estimates.items():
            assert estimate.value == pytest.approx(other.estimates[key].value, rel=1e-9), key
            assert estimate.standard_error == pytest.approx(other.estimates[key].standard_error, rel=1e-6), key
            assert (estimate.count, estimate.notes) == (other.estimates[key].count, other.estimates[key].notes)


@pytest.mark.parametrize("shares", [1, 2, 5])
def test_any_number_of_shares_rebuilt_from_the_url_gives_what_one_process_measures(
    url: str, experiment: Experiment, alone: list[Measured], shares: int
) -> None:
    jobs = [(url, experiment.to_json(), NAMES, Shard(index, shares)) for index in range(shares)]
    parts = [pickle.loads(pickle.dumps(gather_share(*pickle.loads(pickle.dumps(job))))) for job in jobs]
    _, subject, _ = load_subject(url)
    tasks = Planner(subject, (Dataset.open(experiment.data.path),), experiment.evaluation).plan(NAMES)
    require_equal(finish(tasks, [share.parts for share in parts[::-1]]), alone)


def test_damaged_images_of_all_shares_are_counted_once(
    url: str, experiment: Experiment, alone: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gathered(*_: object) -> list[Share]:
        shares = [gather_share(url, experiment.to_json(), NAMES, Shard(index, 2)) for index in range(2)]
        return [replace(share, replaced=[{"train": {3, 4 + place}}]) for place, share in enumerate(shares)]

    monkeypatch.setattr("pipelines.evaluation.shares.on_cluster", lambda: True)
    monkeypatch.setattr("pipelines.evaluation.shares._gather_on_cluster", gathered)
    _, subject, _ = load_subject(url)
    dataset, shared = Dataset.open(experiment.data.path), override(experiment, ["evaluation.workers=2"])
    require_equal(measure_checkpoint(url, shared, subject, (dataset,), NAMES), alone)
    assert dataset.split("train").replaced == {3, 4, 5}


def test_without_a_cluster_one_process_measures_and_says_so(
    url: str, alone: list[Measured], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with caplog.at_level(logging.WARNING):
        found = evaluate_again(url, overrides=["evaluation.workers=3"])
    assert "evaluation.workers=3 needs a cluster (RAY_ADDRESS); one process measures alone" in caplog.text
    assert not ray.is_initialized()
    require_equal(found.measured, alone)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Start Ray in this process with one CPU."""
    with local_ray(num_cpus=1):
        yield


@pytest.mark.ray
@pytest.mark.slow
def test_tasks_of_a_cluster_with_one_cpu_give_what_one_process_measures(
    url: str, alone: list[Measured], cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(url).parent)
    found = evaluate_again(Path(url).name, overrides=["evaluation.workers=2"])
    require_equal(found.measured, alone)


@pytest.mark.ray
@pytest.mark.slow
def test_a_share_that_fails_is_told_in_a_sentence(
    url: str, experiment: Experiment, cluster: None, tmp_path: Path
) -> None:
    _, subject, _ = load_subject(url)
    dataset, shared = Dataset.open(experiment.data.path), override(experiment, ["evaluation.workers=2"])
    with pytest.raises(RuntimeError, match=f"a share of the evaluation of {tmp_path} failed: .*it has no manifest"):
        measure_checkpoint(str(tmp_path), shared, subject, (dataset,), NAMES)


@pytest.mark.ray
@pytest.mark.slow
def test_an_evaluation_whose_process_is_killed_is_an_error_like_any_other(cluster: None) -> None:
    def killed() -> None:
        os._exit(1)

    with pytest.raises(RayTaskError, match="the evaluation was killed"):
        ray.get(ray.remote(apart).options(num_cpus=0).remote({"num_cpus": 1, "max_retries": 0}, killed))
