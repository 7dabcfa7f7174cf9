"""Health metrics and alarms of translators: each failure raises its own alarm, healthy runs and blips raise none."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import torch

from alae_core.alarms import Alarm, raised
from alae_core.alarms.translation import signs
from alae_core.algorithms import munit, nice_gan
from alae_core.schedule import ProgressiveSchedule

TICK = 1000
SCHEDULE = ProgressiveSchedule(resolutions=(64,), stable_kimg=(100.0,), batch_size=(10,))
MUNIT, NICE_GAN = munit.Config(resolution=64), nice_gan.Config()
ALARMS = {"munit": MUNIT.alarms(), "nice_gan": NICE_GAN.alarms()}

HEALTHY: dict[str, float | None] = {
    f"{update}/{term}_{domain}": value
    for domain in "ab"
    for update, term, value in (
        ("discriminator", "real", 0.6),
        ("discriminator", "fake", 0.5),
        ("generator", "recon_x", 0.06),
        ("generator", "reconstruction", 0.06),
        ("generator", "recon_s", 0.3),
        ("generator", "moved", 0.25),
        ("generator", "contrast", 0.5),
    )
}
FAILURES: dict[str, dict[str, float]] = {
    "style_ignored": {"generator/recon_s": 0.8},
    "identity_map": {"generator/moved": 0.06},
    "discriminator_won": {"discriminator/real": 0.02, "discriminator/fake": 0.02},
    "blank": {"generator/contrast": 0.01},
}
EVERY = pytest.mark.parametrize(
    ("algorithm", "failure", "domain"),
    [
        (algorithm, failure, domain)
        for algorithm in ALARMS
        for failure in FAILURES
        for domain in "ab"
        if (algorithm, failure) != ("nice_gan", "style_ignored")
    ],
)

Curve = Callable[[int], dict[str, float | None]]


class Tick(NamedTuple):
    """The fields of a tick that an alarm reads."""

    nimg: int
    metrics: dict[str, float | None]


def names(alarms: Sequence[Alarm], curve: Curve) -> list[str]:
    ticks = [Tick(kimg * TICK, curve(kimg)) for kimg in range(1, 101)]
    return [each.name for each in raised(alarms, ticks, SCHEDULE, TICK)]


def failing(failure: str, domain: str) -> dict[str, float | None]:
    return HEALTHY | {f"{name}_{domain}": value for name, value in FAILURES[failure].items()}


@pytest.mark.parametrize("algorithm", ALARMS)
def test_a_healthy_run_raises_none(algorithm: str) -> None:
    assert names(ALARMS[algorithm], lambda kimg: HEALTHY) == []


@EVERY
def test_each_failure_raises_the_alarm_of_its_domain_alone(algorithm: str, failure: str, domain: str) -> None:
    assert names(ALARMS[algorithm], lambda kimg: failing(failure, domain)) == [f"{failure}_{domain}"]


@EVERY
def test_a_failure_of_one_tick_raises_none(algorithm: str, failure: str, domain: str) -> None:
    curve: Curve = lambda kimg: failing(failure, domain) if kimg == 53 else HEALTHY  # noqa: E731
    assert names(ALARMS[algorithm], curve) == []


@pytest.mark.parametrize("algorithm", ALARMS)
def test_every_alarm_has_a_failure_here_and_a_way_out(algorithm: str) -> None:
    known = {f"{failure}_{domain}" for failure in FAILURES for domain in "ab"}
    assert {alarm.name for alarm in ALARMS[algorithm]} <= known
    for alarm in ALARMS[algorithm]:
        assert "; " in alarm.sentence and not alarm.sentence.endswith(".")
        assert alarm.stops


@pytest.mark.parametrize("algorithm", ALARMS)
def test_the_beginning_where_nothing_has_been_learned_raises_none(algorithm: str) -> None:
    begun = {
        "generator/recon_s": 0.9,
        "generator/moved": 0.3,
        "generator/recon_x": 0.4,
        "generator/reconstruction": 0.4,
    }
    start = HEALTHY | {f"{name}_{domain}": value for name, value in begun.items() for domain in "ab"}
    assert names(ALARMS[algorithm], lambda kimg: start if kimg <= 15 else HEALTHY) == []


def test_a_translation_that_still_reconstructs_badly_is_no_identity_map() -> None:
    blurred = HEALTHY | {"generator/moved_b": 0.2, "generator/recon_x_a": 0.2}
    assert names(ALARMS["munit"], lambda kimg: blurred) == []


def test_the_signs_are_the_distance_from_the_source_and_the_deviation_without_a_gradient() -> None:
    fakes = torch.rand(2, 3, 4, 4, requires_grad=True)
    sources = torch.rand(2, 3, 4, 4)
    found = signs(fakes, sources, 1)
    assert found.keys() == {"moved_b", "contrast_b"}
    torch.testing.assert_close(found["moved_b"], (fakes - sources).abs().mean((1, 2, 3)).detach())
    torch.testing.assert_close(found["contrast_b"], fakes.detach().flatten(1).std(1))
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("config", [MUNIT, NICE_GAN])
def test_charts_and_alarms_read_terms_that_the_updates_give(config: munit.Config | nice_gan.Config) -> None:
    with torch.device("meta"):
        updates = config.build().updates(0)
    weighed = {f"{update.name}/{term}" for update in updates for term in update.weights} | {
        f"discriminator/{term}_{domain}" for term in ("real", "fake") for domain in "ab"
    }
    read = {name for alarm in config.alarms() for name in alarm.reads}
    assert read | {name for chart in config.charts.values() for name in chart} <= weighed
