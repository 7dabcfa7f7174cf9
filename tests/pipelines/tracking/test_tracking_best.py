"""MLflow's table of models: metrics with their dataset and error bars, the best checkpoint tagged and registered."""

import logging
import shutil
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines import presets, storage
from pipelines.runs import layout
from pipelines.tracking import mlflow_run
from pipelines.tracking.replica import SyncResult
from tests.support.measured import evaluate, save
from tests.support.toy_run import Toy, steps

pytestmark = pytest.mark.slow

KEY = "fd_pixels1k"
FACES = {"dataset_name": "faces", "dataset_digest": "0123456789abcdef"}


def sync(toy: Toy, **changes: Any) -> str:
    """The last sync of a finished run by a new writer; each toy is registered under its own name."""
    settings = {"best_metric": KEY, "run_name": name_of(toy)} | changes
    return toy.replica(**settings).sync(final=True).run_id


def name_of(toy: Toy) -> str:
    return toy.run.parent.parent.name


def best_of(client: MlflowClient, toy: Toy, run_id: str) -> tuple[list[str], str]:
    """The names of the logged models with the tag, and where the registered version with the alias lies."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    tagged = {model.name: model for model in found if "alae.best" in model.tags}
    assert {model.tags["alae.best"] for model in tagged.values()} <= {KEY}
    version = client.get_model_version_by_alias(name_of(toy), "best")
    assert version.run_id == run_id
    return list(tagged), version.tags["alae.checkpoint"]


def checkpoint_of(toy: Toy, nimg: int, value: float) -> str:
    """A saved and evaluated checkpoint; its URL."""
    evaluate(toy.run, nimg, fd_pixels1k=value)
    return str(save(toy.run, nimg, presets.load("debug_mnist32_style_alae")))


def test_models_show_and_sort_by_a_metric_with_its_dataset_and_error_bar(toy: Toy, client: MlflowClient) -> None:
    for nimg, value in ((1000, 3.0), (2000, 1.0), (3000, 2.0)):
        evaluate(toy.run, nimg, fd_pixels1k=value)
    run_id = sync(toy)
    assert sync(toy) == run_id
    run = client.get_run(run_id)
    models = client.search_logged_models(
        [run.info.experiment_id],
        f"source_run_id = '{run_id}'",
        datasets=[FACES],
        order_by=[{"field_name": f"metrics.eval/{KEY}", "ascending": True, **FACES}],
    )
    assert [model.name for model in models] == ["at_2_kimg", "at_3_kimg", "at_1_kimg"]
    for model in models:
        linked = {metric.key: (metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
        assert linked == dict.fromkeys(
            (f"eval/{KEY}", f"standard_error/{KEY}", "tracking/evaluation_resolution", "tracking/evaluation_nimg"),
            tuple(FACES.values()),
        )
    (packed,) = run.inputs.dataset_inputs
    assert (packed.dataset.name, packed.dataset.digest) == tuple(FACES.values())
    assert packed.dataset.source == '{"uri": "s3://data/faces"}'


def test_tag_and_alias_move_with_the_best_checkpoint(toy: Toy, client: MlflowClient) -> None:
    replica = toy.replica(best_metric=KEY, run_name=name_of(toy))
    for nimg, value, expected in ((1000, 3.0, 1000), (2000, 2.0, 2000), (3000, 4.0, 2000)):
        checkpoint_of(toy, nimg, value)
        run_id = replica.sync(final=True).run_id
        place = f"{toy.run}/{layout.checkpoint_name(expected)}"
        assert best_of(client, toy, run_id) == ([f"at_{expected // 1000}_kimg"], place)
    assert sync(toy) == run_id
    assert len(client.search_model_versions(f"name = '{name_of(toy)}'")) == 2


def test_a_run_that_goes_on_and_a_trial_are_not_registered_unless_promoted(toy: Toy, client: MlflowClient) -> None:
    name = name_of(toy)
    checkpoint_of(toy, 1000, 3.0)
    running = toy.replica(best_metric=KEY, run_name=name).sync()
    toy.replica(best_metric=KEY, run_name=name).sync(final=True, status="FAILED")
    parent = client.create_run(client.get_run(running.run_id).info.experiment_id).info.run_id
    trial = toy.replica(best_metric=KEY, run_name=name, parent_run_id=parent, registered_as=f"{name} study")
    trial.sync(final=True)
    assert client.search_registered_models(f"name LIKE '{name}%'") == []
    trial.sync(final=True, status="KILLED", register=True)
    (promoted,) = client.search_registered_models(f"name LIKE '{name}%'")
    assert (promoted.name, promoted.aliases) == (f"{name} study", {"best": 1})


def test_no_tag_names_a_folder_that_the_retention_deleted(toy: Toy, client: MlflowClient) -> None:
    first = checkpoint_of(toy, 1000, 3.0)
    run = client.get_run(sync(toy))
    shutil.rmtree(first)
    best = checkpoint_of(toy, 2000, 2.0)
    sync(toy)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    versions = client.search_model_versions(f"name = '{name_of(toy)}'")
    places = {each.tags["alae.checkpoint"] for each in [*models, *versions] if "alae.checkpoint" in each.tags}
    assert (len(models), len(versions), places) == (2, 2, {best})
    shutil.rmtree(best)
    sync(toy)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert not any("alae.checkpoint" in model.tags for model in models)


def test_the_records_of_a_run_are_read_once_also_after_mlflow_was_away(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda url: (reads.append(url), read(url))[1])
    replica = toy.replica(best_metric=KEY, run_name=name_of(toy))
    for nimg in range(1000, 6000, 1000):
        evaluate(toy.run, nimg, fd_pixels1k=nimg)
        replica.sync()
    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(mlflow_run.RemoteRun, "push_ticks", lambda *_: (_ for _ in ()).throw(ConnectionError("away")))
        replica.sync()
    evaluate(toy.run, 6000, fd_pixels1k=0.5)
    assert replica.sync().evaluations == 1 and len(reads) == 6


def test_a_best_checkpoint_that_was_copied_is_registered_at_the_copy(toy: Toy, client: MlflowClient) -> None:
    folder = checkpoint_of(toy, 1000, 3.0)
    replica = toy.replica(best_metric=KEY, run_name=name_of(toy))
    assert best_of(client, toy, replica.sync(final=True).run_id)[1] == folder
    save(toy.run / "best", 1000, presets.load("debug_mnist32_style_alae"))
    copy = f"{toy.run}/best/checkpoint_000000001000"
    assert best_of(client, toy, replica.sync(final=True).run_id)[1] == best_of(client, toy, sync(toy))[1] == copy
    assert len(client.search_model_versions(f"name = '{name_of(toy)}'")) == 1


def test_a_best_checkpoint_that_is_gone_is_tagged_and_not_registered(toy: Toy, client: MlflowClient) -> None:
    evaluate(toy.run, 1000, fd_pixels1k=3.0)
    run = client.get_run(sync(toy))
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert model.tags["alae.best"] == KEY
    assert client.search_registered_models(f"name = '{name_of(toy)}'") == []


@pytest.mark.parametrize("step", ["set_logged_model_tags", "delete_logged_model_tag", "create_model_version"])
def test_a_kill_on_the_way_leaves_one_best_after_the_next_sync(
    toy: Toy, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    checkpoint_of(toy, 1000, 3.0)
    sync(toy)
    checkpoint_of(toy, 2000, 2.0)
    original = getattr(MlflowClient, step)

    def dies_after(*arguments: Any, **keywords: Any) -> None:
        original(*arguments, **keywords)
        raise ConnectionError("killed")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(MlflowClient, step, dies_after)
        sync(toy)
    tagged, place = best_of(client, toy, sync(toy))
    assert tagged == ["at_2_kimg"] and place == f"{toy.run}/{layout.checkpoint_name(2000)}"
    assert len(client.search_model_versions(f"name = '{name_of(toy)}'")) == 2


def test_a_registry_that_refuses_keeps_nothing_else_out_and_is_asked_again(
    toy: Toy, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise MlflowException("not allowed at http://user:hunter2@host")

    checkpoint_of(toy, 1000, 3.0)
    replica = toy.replica(best_metric=KEY, run_name=name_of(toy))
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(MlflowClient, "create_model_version", refuses)
        run = client.get_run(replica.sync(final=True).run_id)
    assert run.info.status == "FINISHED" and "tracking/evaluation_nimg" in run.data.metrics
    assert caplog.text.count("MLflow's registry does not take the best checkpoint") == 1
    assert "hunter2" not in caplog.text
    assert best_of(client, toy, sync(toy))[0] == ["at_1_kimg"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", True),
        ("http://127.0.0.1:5000", True),
        ("postgresql://host/db", True),
        ("mlruns", False),
        ("file:///mlruns", False),
    ],
)
def test_a_folder_of_files_is_no_registry(uri: str, expected: bool) -> None:
    assert mlflow_run.has_registry(uri) is expected


def test_a_run_that_is_judged_by_nothing_has_no_best_checkpoint(toy: Toy, client: MlflowClient) -> None:
    checkpoint_of(toy, 1000, 3.0)
    run = client.get_run(sync(toy, best_metric=None))
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert "alae.best" not in model.tags
    assert client.search_registered_models(f"name = '{name_of(toy)}'") == []


@pytest.mark.parametrize("late", [False, True])
def test_an_added_evaluation_adds_what_is_not_known_and_keeps_the_run_s_own_not_out(
    toy: Toy, client: MlflowClient, late: bool
) -> None:
    def own() -> None:
        evaluate(toy.run, 1000, fd_pixels1k=3.0)

    if not late:
        own()
    evaluate(toy.run, 1000, extra="_a", fd_pixels1k=3.0, l1_1k_recon=0.5)
    replica = toy.replica(best_metric=KEY)
    first = replica.sync()
    assert first.evaluations == 1 + (not late) and replica.sync().evaluations == 0
    if late:
        own()
        assert replica.sync() == SyncResult(first.run_id, evaluations=1)
    assert toy.replica(best_metric=KEY).sync() == SyncResult(first.run_id)
    assert (
        steps(client, first.run_id, "eval/l1_1k_recon")
        == steps(client, first.run_id, "tracking/evaluation_nimg")
        == [1000]
    )
