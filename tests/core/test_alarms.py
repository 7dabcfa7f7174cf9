"""Alarms: the windows of a history, when a rule is applied, and the histories that raise the IntroVAE alarms."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from alae_core.alarms import Alarm, Raised, Window, raised
from alae_core.alarms.introspection import hinge_alarms, hinge_space, soft_alarms, vae_alarms
from alae_core.capabilities import alarms_of
from alae_core.schedule import ProgressiveSchedule

SCHEDULE = ProgressiveSchedule(resolutions=(32,), stable_kimg=(100.0,), batch_size=(10,))
GROWING = ProgressiveSchedule(resolutions=(16, 32), stable_kimg=(100.0,), fade_kimg=(20.0,), batch_size=(10,))
TICK = 1000


@dataclass(frozen=True)
class Tick:
    """A record in the form of the history's records."""

    nimg: int
    metrics: dict[str, float | None]


def ticks(values: Callable[[int], dict[str, float | None]], until: int = 100_000) -> list[Tick]:
    """One tick per thousand images, with the metrics that `values` returns for the kimg."""
    return [Tick(1000 * kimg, values(kimg)) for kimg in range(1, until // 1000 + 1)]


def windows_seen(records: Sequence[Tick], schedule: ProgressiveSchedule = SCHEDULE, **changes: object) -> list[Window]:
    """The windows in the last call of a rule."""
    seen: list[Window] = []

    def rule(windows: Sequence[Window]) -> bool:
        seen[:] = windows
        return False

    settings = {"name": "a", "sentence": "s", "reads": ("x",), "rule": rule, "grace": 0.0} | changes
    assert raised([Alarm(**settings)], records, schedule, TICK) == ()  # type: ignore[arg-type]
    return seen


def test_a_window_is_the_mean_of_its_ticks_over_a_twentieth_of_the_level() -> None:
    windows = windows_seen(ticks(lambda kimg: {"x": float(kimg), "y": None}, until=20_000))
    # The first tick covers the images from the first one on, so no image is lost.
    assert [(window.nimg, window.means) for window in windows] == [
        (5000, {"x": 3.0}),
        (10_000, {"x": 8.0}),
        (15_000, {"x": 13.0}),
        (20_000, {"x": 18.0}),
    ]
    assert [window.begins for window in windows] == [0.0, 0.05, 0.1, 0.15]


def test_a_window_holds_at_least_three_ticks_however_short_the_level() -> None:
    short = replace(SCHEDULE, stable_kimg=(10.0,))
    windows = windows_seen(ticks(lambda kimg: {"x": float(kimg)}, until=10_000), short)
    assert [(window.nimg, window.means["x"]) for window in windows] == [(3000, 2.0), (6000, 5.0), (9000, 8.0)]


def test_a_window_is_not_reported_before_its_last_tick() -> None:
    assert windows_seen(ticks(lambda kimg: {"x": 1.0}, until=4000)) == []
    assert len(windows_seen(ticks(lambda kimg: {"x": 1.0}, until=5000))) == 1


def test_ticks_without_the_metric_count_for_nothing_and_a_window_of_them_is_passed_over() -> None:
    windows = windows_seen(ticks(lambda kimg: {"x": None if kimg < 8 or kimg == 12 else float(kimg)}, until=15_000))
    assert [(window.nimg, window.means["x"]) for window in windows] == [(10_000, 9.0), (15_000, 13.25)]


def test_neither_warm_up_nor_fade_nor_grace_nor_another_level_is_reported() -> None:
    records = ticks(lambda kimg: {"x": float(kimg)}, until=220_000)
    warm = windows_seen(records[:100], GROWING, warmup_kimg=(40.0,))
    assert (warm[0].nimg, warm[0].means["x"]) == (43_000, 42.0)  # a window is a twentieth of 60 kimg
    second = windows_seen(records, GROWING)
    assert second[0].nimg == 125_000 and second[-1].nimg == 220_000  # after the fade from 100 to 120 kimg
    assert windows_seen(records, GROWING, warmup_kimg=(0.0, 60.0))[0].nimg == 163_000  # the warm-up is the longer one
    assert windows_seen(records, GROWING, grace=0.5)[0].nimg == 175_000


def test_the_windows_and_graces_of_a_long_level_do_not_grow_with_it() -> None:
    long = replace(SCHEDULE, stable_kimg=(30_000.0,))
    records = [Tick(10_000 * tick, {"x": 1.0}) for tick in range(1, 101)]
    windows = windows_seen(records, long, grace=0.1)
    assert [window.nimg for window in windows] == [450_000, 600_000, 750_000, 900_000]
    assert windows[0].begins == 0.01


def test_an_alarm_reports_its_first_time_with_the_means_in_the_order_of_the_images() -> None:
    def above(bound: float) -> Callable[[Sequence[Window]], bool]:
        return lambda windows: windows[-1].means["x"] > bound

    late = Alarm(name="late", sentence="too large; lower it", reads=("x",), rule=above(15.0), stops=False)
    soon = replace(late, name="soon", rule=above(11.0), stops=True)
    never = replace(late, name="never", rule=above(1000.0))
    found = raised([late, never, soon], ticks(lambda kimg: {"x": float(kimg)}), SCHEDULE, TICK)
    assert found == (
        Raised("soon", 15_000, "too large; lower it (x 13)", True),
        Raised("late", 20_000, "too large; lower it (x 18)", False),
    )
    assert str(found[0]) == "at 15.0 kimg: too large; lower it (x 13)"


def test_the_order_in_which_ticks_were_recorded_does_not_matter() -> None:
    records = ticks(failing("posterior_collapse"))
    assert names(records[::-1]) == names(records) != []
    grown = [names(records[:count]) for count in range(len(records))]
    assert all(set(before) <= set(after) for before, after in pairwise(grown))


def test_only_a_config_that_declares_alarms_has_some() -> None:
    class Watched:
        def alarms(self) -> tuple[Alarm, ...]:
            return vae_alarms(8)

    assert alarms_of(object()) == ()
    assert len(alarms_of(Watched())) == 2


# --- the IntroVAE family ------------------------------------------------------------------------------

HEALTHY: dict[str, float | None] = {
    # From the public log of an IntroVAE with m = 110 between epochs 6 and 100.
    "encoder/reconstruction": 700.0,
    "encoder/kl_real": 79.0,
    "encoder/kl_reconstruction": 113.0,
    "encoder/kl_sample": 82.0,
    "encoder/margin": 110.0,
    "encoder/active_reconstruction": 0.45,
    "encoder/active_sample": 1.0,
    "encoder/exp_reconstruction": 1e-2,
    "encoder/exp_sample": 1e-3,
}


def healthy(kimg: int) -> dict[str, float | None]:
    """HEALTHY with single outliers, and with the slow drift after the samples cross the margin."""
    late = kimg > 60
    wild: dict[str, float | None] = (
        {"encoder/kl_sample": 70.0, "encoder/kl_reconstruction": 240.0} if kimg % 5 == 0 else {}
    )
    drift: dict[str, float | None] = (
        {"encoder/kl_sample": 124.0, "encoder/reconstruction": 770.0, "encoder/active_sample": 0.13} if late else {}
    )
    return HEALTHY | {"encoder/active_reconstruction": 0.06 if late else 0.45} | drift | wild


def constant(**changes: float) -> Callable[[int], dict[str, float | None]]:
    changed = {f"encoder/{name}": value for name, value in changes.items()}
    return lambda kimg: healthy(kimg) | changed


def rising(name: str, by_kimg: float) -> Callable[[int], dict[str, float | None]]:
    return lambda kimg: healthy(kimg) | {f"encoder/{name}": (HEALTHY[f"encoder/{name}"] or 0.0) + by_kimg * kimg}


FAILURES: dict[str, Callable[[int], dict[str, float | None]]] = {
    "posterior_collapse": constant(kl_real=0.5),
    "reconstruction_rising": rising("reconstruction", 10.0),
    "sample_kl_not_above_real": constant(kl_sample=77.5),
    "real_kl_above_margin": constant(kl_real=111.0, kl_sample=115.0, kl_reconstruction=150.0),
    "reconstruction_kl_below_real": constant(kl_reconstruction=78.0),
    "fake_kl_far_above_margin": rising("kl_sample", 20.0),
    "reconstruction_past_margin_early": constant(active_reconstruction=0.05),
    "encoder_has_won": lambda kimg: (
        healthy(kimg) | ({"encoder/active_reconstruction": 0.0, "encoder/active_sample": 0.001} if kimg > 50 else {})
    ),
    "encoder_saturated": constant(exp_reconstruction=1e-9, exp_sample=1e-12),
}
HINGE, SOFT = hinge_alarms(128, (0.0,)), soft_alarms(128, (0.0,))
TOLD_ONLY = {"reconstruction_past_margin_early", "encoder_has_won", "encoder_saturated"}


def failing(name: str) -> Callable[[int], dict[str, float | None]]:
    return FAILURES[name]


def names(records: Sequence[Tick], alarms: Sequence[Alarm] = (*HINGE, *SOFT)) -> list[str]:
    return sorted({each.name for each in raised(alarms, records, SCHEDULE, TICK)})


@pytest.mark.parametrize("alarms", [HINGE, SOFT, vae_alarms(128)])
def test_a_healthy_run_raises_none_though_single_readings_lie_far_out(alarms: tuple[Alarm, ...]) -> None:
    assert names(ticks(healthy), alarms) == []


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_raises_its_own_alarm_alone(name: str) -> None:
    assert names(ticks(failing(name))) == [name]


def test_every_alarm_has_a_failure_here_and_a_way_out_of_it() -> None:
    every = {alarm.name: alarm for alarm in (*HINGE, *SOFT)}
    assert set(every) == set(FAILURES)
    assert {name for name, alarm in every.items() if not alarm.stops} == TOLD_ONLY
    for alarm in every.values():
        assert "; " in alarm.sentence and "algorithm.loss." in alarm.sentence and not alarm.sentence.endswith(".")


@pytest.mark.parametrize("name", FAILURES)
def test_no_alarm_is_raised_by_a_failure_that_lasts_one_tick(name: str) -> None:
    def once(kimg: int) -> dict[str, float | None]:
        return failing(name)(kimg) if kimg == 33 else healthy(kimg)

    assert names(ticks(once)) == []


def test_what_the_warm_up_does_raises_none() -> None:
    warm = hinge_alarms(128, (50.0,))

    def begun(kimg: int) -> dict[str, float | None]:
        return HEALTHY | {"encoder/kl_real": 300.0, "encoder/kl_sample": 0.0} if kimg <= 50 else HEALTHY

    assert names(ticks(begun), warm) == []
    assert "real_kl_above_margin" in names(ticks(begun), HINGE)


def test_a_vae_without_fakes_is_watched_for_collapse_and_error_alone() -> None:
    def alone(kimg: int) -> dict[str, float | None]:
        return {"encoder/kl_real": 1.0, "encoder/reconstruction": 10.0}

    assert names(ticks(alone), vae_alarms(32)) == ["posterior_collapse"]
    assert names(ticks(alone), HINGE) == ["posterior_collapse"]


def weights() -> Iterator[tuple[float, float]]:
    for resolution in (32, 64, 128, 256, 512, 1024):
        (space,) = hinge_space(resolution)
        low, high = space.removeprefix("algorithm.loss.reconstruction_weight=loguniform(")[:-1].split(", ")
        yield float(low), float(high)


def test_the_weights_that_a_search_tries_fall_with_the_number_of_pixels() -> None:
    assert all(low < high for low, high in weights())
    assert all(fine[0] <= coarse[0] and fine[1] <= coarse[1] for coarse, fine in pairwise(weights()))
