"""Files of an older commit read as they did then: datasets, runs, checkpoints, evaluations and histories."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alae_core.state import TrainState
from pipelines.cli import main
from pipelines.data.format.shards import Dataset
from pipelines.data.verify import verify
from pipelines.runs import checkpoint, layout
from pipelines.runs.evaluations import read_evaluation, read_evaluations
from pipelines.runs.history import read_history
from pipelines.runs.run import Run
from tests.support.stored import unpack

RUNS = {"finished": (384, 480), "translator": (160,)}
"""The images at which the checkpoints of each run were saved."""
VALUES = {
    "fd_pixels0.1k": 21.82588896989961,
    "reciprocity0.1k": 5.782518691094754,
    "fd_classifier0.032k": 77.84959298351089,
}
"""Metrics of the last checkpoint of `finished`."""
EVERY_RUN = pytest.mark.parametrize("name", RUNS)
EVERY_CHECKPOINT = pytest.mark.parametrize(("name", "nimg"), [(name, nimg) for name in RUNS for nimg in RUNS[name]])


@pytest.mark.parametrize(
    ("name", "channels", "rows"), [("dataset", 1, (77, 19)), ("pair/a", 3, (32, 8)), ("pair/b", 3, (32, 8))]
)
def test_datasets_are_sound_and_open_at_every_level(
    stored: Path, name: str, channels: int, rows: tuple[int, int]
) -> None:
    assert verify(str(stored / name)) == []
    dataset = Dataset.open(str(stored / name))
    splits = [dataset.split("train"), dataset.split("validation")]
    side = 8 if channels == 1 else 16
    assert (dataset.resolution, dataset.channels) == (side, channels) and tuple(split.rows for split in splits) == rows
    for split in splits:
        for resolution in (4, 8, side):
            images = split.read(resolution, np.arange(split.rows))
            assert images.shape == (split.rows, resolution, resolution, channels) and images.std() > 10


@EVERY_RUN
def test_a_run_says_its_experiment_and_is_finished(stored: Path, name: str) -> None:
    run = Run(f"{stored}/runs/{name}")
    experiment = run.experiment()
    assert (experiment.name, experiment.training.storage) == (name, f"{stored}/runs")
    last = run.finished_at(experiment)
    assert last is not None and last.nimg == RUNS[name][-1] == experiment.schedule.total_nimg
    assert [saved.nimg for saved in checkpoint.finished(run.url)] == list(RUNS[name])
    assert [saved.nimg for saved in checkpoint.finished(f"{run.url}/best")] == [RUNS[name][-1]]


@EVERY_CHECKPOINT
def test_a_checkpoint_fits_a_fresh_state_and_its_averages_fit_the_networks(stored: Path, name: str, nimg: int) -> None:
    url = f"{stored}/runs/{name}/{layout.checkpoint_name(nimg)}"
    experiment = Run(f"{stored}/runs/{name}").experiment()
    assert checkpoint.read_experiment(url) == experiment
    state = TrainState.build(experiment.algorithm, 99, experiment.training.optimizer)
    checkpoint.load_into(state, url)
    assert state.nimg == nimg and state.iteration > 0 and state.seconds > 0
    assert all(optimizer.state_dict()["state"] for optimizer in state.optimizers.values())
    averaged, _, networks, at = checkpoint.load_averages(url)
    assert (averaged, at) == (experiment, nimg)
    for role, network in networks.items():
        own = state.ema[role].state_dict()
        assert all(torch.equal(tensor, own[key]) for key, tensor in network.state_dict().items())


def test_evaluations_of_a_run_and_by_a_command_are_read_with_all_their_values(stored: Path) -> None:
    found = read_evaluations(f"{stored}/runs/finished")
    assert [each.nimg for each in found] == [128, 256, 384, 480, 480]
    by_run, by_command = sorted(found[-2:], key=lambda each: "eval/fd_pixels0.1k" in each.metrics)
    assert {name: (by_run.metrics | by_command.metrics)[f"eval/{name}"] for name in VALUES} == VALUES
    assert by_run.figures["samples"] == "figures/samples_000000000480.png"
    assert by_command.metrics["eval/fd_pixels0.1k_se"] == 0.3845264613112801
    assert by_command.checkpoint == f"{stored}/runs/finished/checkpoint_000000000480"
    assert [each.nimg for each in read_evaluations(f"{stored}/runs/finished", own=True)] == [128, 256, 384, 480]
    assert [each.nimg for each in read_evaluations(f"{stored}/runs/translator")] == [128, 160]


@EVERY_RUN
def test_a_history_has_every_tick_and_those_that_checkpoints_hold(stored: Path, name: str) -> None:
    run = Run(f"{stored}/runs/{name}")
    ticks, _ = read_history(run.history)
    assert [tick.nimg for tick in ticks] == list(range(32, RUNS[name][-1] + 1, 32))
    held: list[Any] = [
        tick for nimg in RUNS[name] for tick in checkpoint.read_ticks(f"{run.url}/{layout.checkpoint_name(nimg)}")
    ]
    assert held and {tick.nimg for tick in held} <= {tick.nimg for tick in ticks}
    by_nimg = {tick.nimg: tick for tick in ticks}
    same = "progress/kimg"
    assert all(tick.metrics[same] == by_nimg[tick.nimg].metrics[same] for tick in held)


def test_the_runs_are_listed_with_their_newest_and_best_values(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["runs", str(stored / "runs")]) in (None, 0)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "finished" in lines["finished"].removeprefix("finished") and "77.8" in lines["finished"]
    assert "finished" in lines["translator"]


def test_two_checkpoints_of_a_run_are_compared(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"{stored}/runs/finished"
    assert main.main(["compare", f"{run}/checkpoint_000000000384", run]) in (None, 0)
    said = capsys.readouterr().out
    assert "fd_classifier0.032k" in said and "77.8" in said and "79.1" in said


@pytest.mark.slow
def test_a_stored_run_is_evaluated_again_with_the_values_of_its_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to what another CPU's kernels round otherwise; the classifier is the stored one, not trained anew."""
    folder = unpack(tmp_path)
    run, extractors = f"{folder}/runs/finished", folder / "dataset" / "extractors"
    classifiers = sorted(extractors.glob("classifier*"))
    before = [path.read_bytes() for path in classifiers]
    assert main.main(["evaluate", run, "--metrics", ",".join(VALUES)]) in (None, 0)
    said = capsys.readouterr().out
    record = said.split("kept in ")[1].strip()
    found = read_evaluation(run, record.removeprefix(f"{run}/")).metrics
    assert "checkpoint_000000000480 at 0.48 kimg" in said
    for name, value in VALUES.items():
        assert found[f"eval/{name}"] == pytest.approx(value, rel=1e-4), name
    assert sorted(extractors.glob("classifier*")) == classifiers
    assert [path.read_bytes() for path in classifiers] == before
