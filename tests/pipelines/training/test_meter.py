"""The values of a tick: means of the loss terms, rates and waits since the last tick."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from alae_core.algorithm import Update
from alae_core.schedule import Level
from pipelines.training.meter import Meter, losses

LEVEL = Level(index=1, resolution=8, blend=0.5, batch_size=8, lr=0.002)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the test moves."""
    now = [100.0]
    monkeypatch.setattr("pipelines.training.meter.time.perf_counter", lambda: now[0])
    return now


def state(nimg: int, iteration: int = 1, seconds: float = 0.0) -> Any:
    return SimpleNamespace(nimg=nimg, iteration=iteration, seconds=seconds)


def test_a_lazy_term_is_averaged_over_the_iterations_it_came_in(clock: list[float]) -> None:
    meter = Meter()
    for number in range(4):
        lazy = {"penalty/r1": torch.tensor(8.0 + number)} if number % 2 == 0 else {}
        meter.add({"discriminator/fake": torch.tensor(float(number)), **lazy})
    clock[0] += 1
    record = meter.tick(state(32), LEVEL, 0.0)
    assert record["discriminator/fake"] == 1.5
    assert record["penalty/r1"] == 9.0


def test_a_mean_of_many_small_steps_loses_no_digits(clock: list[float]) -> None:
    meter = Meter()
    for _ in range(1000):
        meter.add({"a/b": torch.tensor(0.1)})
    clock[0] += 1
    assert meter.tick(state(8), LEVEL, 0.0)["a/b"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_rates_and_waiting_are_those_since_the_last_tick(clock: list[float]) -> None:
    meter = Meter()
    meter.start(1000, waited_s=5.0)
    clock[0] += 4.0
    first = meter.tick(state(1200), LEVEL, 6.0)
    assert (first["time/images_per_s"], first["time/sec_per_kimg"]) == (50.0, 20.0)
    assert first["time/data_wait_frac"] == 0.25
    clock[0] += 2.0
    second = meter.tick(state(1400), LEVEL, 6.0)
    assert (second["time/images_per_s"], second["time/data_wait_frac"]) == (100.0, 0.0)


def test_the_start_of_the_data_is_reported_once_and_is_not_counted_as_waiting(clock: list[float]) -> None:
    meter = Meter()
    clock[0] += 9.0  # the first batch is waited for
    meter.start(0, data_start_s=9.0)
    clock[0] += 2.0
    first = meter.tick(state(8), LEVEL, 0.5)
    assert (first["time/data_start_s"], first["time/data_wait_frac"]) == (9.0, 0.25)
    clock[0] += 1.0
    assert "time/data_start_s" not in meter.tick(state(16), LEVEL, 0.5)


def test_skipped_images_are_those_since_the_last_tick(clock: list[float]) -> None:
    meter = Meter()
    clock[0] += 1.0
    assert meter.tick(state(8), LEVEL, 0.0)["data/skipped_images"] == 0
    clock[0] += 1.0
    assert meter.tick(state(16), LEVEL, 0.0, 5)["data/skipped_images"] == 5
    meter.start(16, 0.0, 5)  # a checkpoint was written
    clock[0] += 1.0
    assert meter.tick(state(24), LEVEL, 0.0, 7)["data/skipped_images"] == 2


def test_time_between_a_tick_and_a_new_start_is_not_counted(clock: list[float]) -> None:
    meter = Meter()
    meter.start(0)
    clock[0] += 1.0
    meter.tick(state(100), LEVEL, 0.0)
    clock[0] += 50.0  # a checkpoint is written
    meter.start(100)
    clock[0] += 1.0
    assert meter.tick(state(200), LEVEL, 0.0)["time/images_per_s"] == 100.0


def test_a_tick_begins_the_means_anew(clock: list[float]) -> None:
    meter = Meter()
    meter.add({"a/b": torch.tensor(100.0), "a/gone": torch.tensor(1.0)})
    clock[0] += 1
    meter.tick(state(8), LEVEL, 0.0)
    meter.add({"a/b": torch.tensor(2.0)})
    clock[0] += 1
    record = meter.tick(state(16), LEVEL, 0.0)
    assert record["a/b"] == 2.0 and "a/gone" not in record


def test_a_tick_says_where_the_run_is(clock: list[float]) -> None:
    meter = Meter()
    clock[0] += 1
    record = meter.tick(state(1500, iteration=188, seconds=12.5), LEVEL, 0.0)
    expected = {
        "progress/nimg": 1500,
        "progress/kimg": 1.5,
        "progress/iteration": 188,
        "progress/level": 1,
        "progress/resolution": 8,
        "progress/blend": 0.5,
        "progress/lr": 0.002,
        "time/total_s": 12.5,
    }
    assert expected.items() <= record.items()
    assert record["memory/peak_gib"] > 0


def test_nothing_leaves_the_device_before_the_tick(clock: list[float]) -> None:
    meter = Meter()
    unreadable = torch.empty((), device="meta")
    meter.add({"a/b": unreadable})
    meter.add({"a/b": unreadable})
    clock[0] += 1
    with pytest.raises((NotImplementedError, RuntimeError)):
        meter.tick(state(8), LEVEL, 0.0)


def test_the_whole_loss_of_an_update_is_the_weighted_sum_of_its_terms_at_the_level() -> None:
    def none(batch: Any) -> dict[str, torch.Tensor]:
        return {}

    updates = (
        Update(name="generator", trains=("generator",), loss=none, weights={"cycle": 10.0}),
        Update(
            name="discriminator",
            trains=("discriminator",),
            loss=none,
            level_weights=lambda level: {"fake": level.blend},
        ),
        Update(name="penalty", trains=("discriminator",), loss=none, every=16),
    )
    means = {"generator/fake": 0.5, "generator/cycle": 0.2, "discriminator/fake": 3.0, "discriminators/other": 9.0}
    assert losses(updates, LEVEL, means) == {"loss/generator": 2.5, "loss/discriminator": 1.5}
