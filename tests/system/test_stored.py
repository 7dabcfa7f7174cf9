"""A run of an older commit resumes with the present code and ends as it did then."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alae_core.fit import fit
from alae_core.state import TrainState
from pipelines.data.format.shards import Dataset
from pipelines.runs import checkpoint, layout
from pipelines.runs.evaluations import read_evaluations
from pipelines.runs.history import read_history
from pipelines.runs.run import Run
from pipelines.training.trainer import train
from pipelines.training.worker import engine
from tests.support.ranks import Pair
from tests.support.runs import prompt_ray
from tests.support.stored import unpack
from tests.support.tensors import flat

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LAST_KEPT, END = 384, 480
CLOSE = 0.1
"""Tolerance relative to the change of a network's averages since LAST_KEPT. The difference is 0 on CPUs like those that
stored them (AVX2, AVX-512), up to 0.07 without vector instructions, for biases before a norm, whose gradients are rounding
errors, and 0.3 or more if the moments are lost."""


def resumed_without_ray(folder: str) -> dict[str, np.ndarray]:
    """Final state of this rank, resumed by the plain loop, as arrays that another process can send."""
    run = Run(f"{folder}/runs/finished")
    experiment = run.experiment()
    state = TrainState.build(experiment.algorithm, 99, experiment.training.optimizer)
    checkpoint.load_into(state, f"{run.url}/{layout.checkpoint_name(LAST_KEPT)}")
    split = Dataset.open(experiment.data.path).split("train")
    images = split.read(8, np.arange(split.rows))
    fit(state, engine(experiment), images, group_sizes=split.group_sizes, window_images=experiment.data.window_images)
    return {path: tensor.numpy() for path, tensor in tensors_of(state.state_dict())}


def tensors_of(state: dict[str, Any]) -> list[tuple[str, torch.Tensor]]:
    """Networks, moments and averages by path."""
    return [(path, value) for path, value in flat(state).items() if isinstance(value, torch.Tensor)]


def test_a_stored_run_whose_last_checkpoint_is_lost_resumes_and_ends_as_it_ended(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is bit-identical to a resume without Ray on this machine, and close to the stored tensors.

    Bit-identity with the stored tensors cannot be guaranteed, because kernels of other CPUs sum in another order. Ray's
    record of the run still names the lost checkpoint; Ray refused such a folder.
    """
    folder = unpack(tmp_path)
    run = Run(f"{folder}/runs/finished")
    newest = f"{run.url}/{layout.checkpoint_name(END)}"
    stored, before = (checkpoint.read_state(f"{run.url}/{layout.checkpoint_name(at)}") for at in (END, LAST_KEPT))
    ticks = read_history(run.history)[0]
    evaluated = {each.nimg: each.metrics for each in read_evaluations(run.url, own=True)}
    for lost in (newest, f"{run.url}/best"):
        shutil.rmtree(lost)
    alone = pair(resumed_without_ray, str(folder))

    monkeypatch.chdir(tmp_path)
    with prompt_ray():
        train(run.experiment())
    final = checkpoint.read_state(newest)

    found = dict(tensors_of(final))
    for ranks in alone:
        assert found.keys() == ranks.keys() == dict(tensors_of(stored)).keys()
        assert [path for path in found if not np.array_equal(found[path].numpy(), ranks[path])] == []
    require_close(final, stored, before)
    assert (final["nimg"], final["iteration"]) == (stored["nimg"], stored["iteration"])
    assert [tick.nimg for tick in read_history(run.history)[0]] == [tick.nimg for tick in ticks]
    again = {each.nimg: each.metrics for each in read_evaluations(run.url, own=True)}
    assert again.keys() == evaluated.keys()
    name = "eval/fd_classifier0.032k"
    assert again[END][name] == pytest.approx(evaluated[END][name], rel=1e-4)
    assert [saved.nimg for saved in checkpoint.finished(run.url)] == [LAST_KEPT, END]


def require_close(final: dict[str, Any], stored: dict[str, Any], before: dict[str, Any]) -> None:
    for role in stored["ema"]:
        now, then, start = (
            torch.cat([t.flatten() for t in state["ema"][role].values()]) for state in (final, stored, before)
        )
        off = float((now - then).norm() / (then - start).norm())
        assert off <= CLOSE, f"the averages of {role} are {off:.1e} of their way from the stored ones"
