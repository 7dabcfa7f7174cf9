"""Translators trained through Ray: a run that loses its worker ends bit-identical to the plain loop on the same images."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from alae_core.fit import fit
from pipelines import presets, storage
from pipelines.data import domains
from pipelines.data.feed.stream import SPLIT
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.history import Tick, read_history
from pipelines.training import progress
from pipelines.training.trainer import Outcome, train
from pipelines.training.worker import engine
from tests.support import tiny
from tests.support.packed import pack_two_domains
from tests.support.runs import differing, final_state, prompt_ray, train_workers
from tests.support.translators import one_preset_of_each

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOTAL = 192
TICK = 32
LOST_AT = 2 * TICK
"""Tick after which the worker is killed, long before the end."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Dataset of two domains, both with fewer images than the run trains on."""
    return pack_two_domains(tmp_path_factory.mktemp("domains"), (160, 112), 64, validation_fraction=0.25)


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    with prompt_ray():
        yield


@pytest.fixture(scope="module", params=one_preset_of_each().values())
def experiment(request: pytest.FixtureRequest, pair: str, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Experiments of two dozen iterations with one worker, flips, crops and a checkpoint every 64 images, per algorithm."""
    return override(
        presets.load(f"debug_{request.param}"),
        [
            f"data.path={pair}",
            "data.flip=true",
            "data.enlarge=1.117",
            "evaluation.metrics=null",
            f"schedule.stable_kimg={TOTAL / 1000}",
            f"training.storage={tmp_path_factory.mktemp(request.param)}",
            "training.checkpoint_ticks=2",
            "training.keep_checkpoints=null",
            "scaling.cpus_per_evaluation=0.25",
            "scaling.cpus_per_worker=0.5",
            "scaling.cpus_per_data_task=0.5",
        ],
    )


@pytest.fixture(scope="module")
def trained(_cluster: None, experiment: Experiment) -> Outcome:
    """A run whose worker is killed once."""
    killed: list[int] = []
    checkpoints: list[checkpoint.CheckpointRef] = []

    def kill_once(tick: Tick) -> None:
        if tick.nimg >= LOST_AT and not killed:
            killed.extend(process.pid for process in train_workers(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            checkpoints.extend(checkpoint.finished(f"{experiment.training.storage}/{experiment.name}"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "POLL_S", 0.02)
        outcome = train(experiment, on_tick=kill_once)
    assert killed and LOST_AT - TICK <= checkpoints[-1].nimg < TOTAL
    return outcome


def plain(experiment: Experiment) -> dict[str, Any]:
    """Final state of the same training in alae_core's plain loop, without Ray, feed or checkpoints."""
    splits = [dataset.split(SPLIT) for dataset in domains.open_datasets(experiment.data.path, 2)]
    state = fit(
        tiny.build(experiment),
        engine(experiment),
        tuple(split.read(experiment.algorithm.resolution, np.arange(split.rows)) for split in splits),
        group_sizes=tuple(split.group_sizes for split in splits),
        window_images=experiment.data.window_images,
    )
    return state.state_dict()


def test_a_run_that_loses_its_worker_ends_bit_identical_to_the_plain_loop(
    experiment: Experiment, trained: Outcome
) -> None:
    expected = plain(experiment)
    assert expected["nimg"] == TOTAL
    assert differing(final_state(trained.run), expected) == []


def test_every_tick_and_checkpoint_is_there_once_with_the_terms_of_both_domains(trained: Outcome) -> None:
    ticks, _ = read_history(trained.run.history)
    assert [tick.nimg for tick in ticks] == list(range(TICK, TOTAL + 1, TICK))
    assert [saved.nimg for saved in checkpoint.finished(trained.run.url)] == [*range(2 * TICK, TOTAL, 2 * TICK), TOTAL]
    for tick in ticks:
        named = {name.rpartition("_")[0] for name in tick.metrics if name.endswith("_a")}
        assert named == {name.rpartition("_")[0] for name in tick.metrics if name.endswith("_b")} != set()


def test_every_checkpoint_is_measured_and_drawn_in_both_directions(trained: Outcome) -> None:
    found = trained.evaluations()
    assert [evaluation.nimg for evaluation in found] == [*range(2 * TICK, TOTAL, 2 * TICK), TOTAL]
    for evaluation in found:
        for to in "ab":
            assert any(name.endswith(f"_to_{to}") for name in evaluation.metrics)
            assert storage.exists(f"{trained.run.url}/{evaluation.figures[f'translations_to_{to}']}")
