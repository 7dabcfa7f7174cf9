"""Whole runs through Ray: against the plain loop, on an object store, past a dead MLflow, into a broken loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alae_core.fit import fit
from pipelines import presets
from pipelines.cli import main
from pipelines.data.feed.stream import SPLIT
from pipelines.data.format.shards import Dataset
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import checkpoint, layout
from pipelines.runs.history import read_history
from pipelines.tracking import mlflow_run, names
from pipelines.training import trainer
from pipelines.training.trainer import Outcome, train
from pipelines.training.worker import engine
from tests.support import tiny
from tests.support.runs import differing, final_state, prompt_ray
from tests.support.store import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = (
    "scaling.workers=1",
    "scaling.cpus_per_worker=0.5",
    "scaling.cpus_per_data_task=0.5",
    "training.checkpoint_ticks=2",
    "evaluation.enabled=false",
)
CHECKPOINTS = [64, 128, 192, 256, 320, 384, 448, 480]


def small(storage: str, dataset: str, *more: str, keep: str = "null") -> Experiment:
    """480 images of two levels with one worker, saved every 64."""
    settings = [f"training.storage={storage}", f"data.path={dataset}", "name=run", *SMALL, *more]
    settings.append(f"training.keep_checkpoints={keep}")
    return override(presets.load("debug_mnist32_style_alae"), settings)


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run to its end that keeps two checkpoints, while its MLflow is away all the time."""
    dead = f"tracking.uri=http://127.0.0.1:{free_port()}"
    storage = str(tmp_path_factory.mktemp("trained"))
    with prompt_ray():
        return train(small(storage, str(tiny_dataset), dead, keep="2"))


@pytest.fixture(scope="module")
def plain(tiny_dataset: Path) -> dict[str, Any]:
    """The end of the same training in alae_core's plain loop, without Ray, dataset or checkpoints."""
    experiment = small("unused", str(tiny_dataset))
    split = Dataset.open(str(tiny_dataset)).split(SPLIT)
    images = split.read(experiment.schedule.resolutions[-1], np.arange(split.rows))
    state = fit(
        tiny.build(experiment),
        engine(experiment),
        images,
        group_sizes=split.group_sizes,
        window_images=experiment.data.window_images,
    )
    return state.state_dict()


def test_one_worker_ends_bit_identical_to_the_plain_loop(trained: Outcome, plain: dict[str, Any]) -> None:
    assert plain["nimg"] == 480
    assert differing(final_state(trained.run), plain) == []


def test_only_the_newest_checkpoints_are_kept(trained: Outcome) -> None:
    assert [ref.nimg for ref in checkpoint.finished(trained.run.url)] == CHECKPOINTS[-2:]
    folders = sorted(path.name for path in Path(trained.run.url).glob("checkpoint_0*"))
    assert folders == [layout.checkpoint_name(nimg) for nimg in CHECKPOINTS[-2:]]


def test_a_dead_mlflow_does_not_stop_a_run_and_track_brings_every_tick_exactly_once(
    trained: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not trained.tracked
    ticks, _ = read_history(trained.run.history)
    assert [tick.nimg for tick in ticks] == list(range(32, 481, 32))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for added in (len(ticks), 0):
        assert main.main(["track", trained.run.url, "--uri", uri]) == 0
        assert f": {added} ticks, 0 evaluations" in capsys.readouterr().out
    client = mlflow_run.connect(uri)
    runs = client.search_runs([client.get_experiment_by_name("alae").experiment_id])
    assert [(run.info.run_name, run.info.status) for run in runs] == [("run", "FINISHED")]
    for name in ("progress/kimg", "discriminator/real"):
        logged = client.get_metric_history(runs[0].info.run_id, names.metric(name))
        assert [(m.step, m.value) for m in logged] == [(t.nimg, t.metrics[name]) for t in ticks]


def test_a_loss_that_is_not_finite_ends_the_run_with_its_name_and_place_and_is_not_tried_again(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    data_of = trainer._remaining_data

    def counted(*arguments: Any) -> Any:
        with starts.open("a") as file:
            file.write("x")
        return data_of(*arguments)

    monkeypatch.setattr(trainer, "_remaining_data", counted)
    overflowing = small(str(tmp_path), str(tiny_dataset), "schedule.lr=0.002,1e30")
    with prompt_ray(), pytest.raises(RuntimeError) as caught:
        train(overflowing)
    place = r"\w+/\w+ is not finite at 0\.1\d\d kimg \(level 1, 8px\) on rank 0: first in .*; last checkpoint 0\.128 kimg in "
    assert pytest.RaisesExc(RuntimeError, match=place).matches(caught.value), caught.value
    assert starts.read_text() == "x"
