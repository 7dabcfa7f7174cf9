"""Levels as pure functions of the number of training images: segments, fades, batches, learning rates, refusals."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from alae_core.schedule import ProgressiveSchedule


def schedule(**changes: object) -> ProgressiveSchedule:
    settings: dict[str, object] = {
        "resolutions": (4, 8, 16),
        "stable_kimg": (0.1,),
        "fade_kimg": (0.08,),
        "batch_size": (20, 16, 8),
        "lr": (0.001, 0.002),
    }
    return ProgressiveSchedule(**(settings | changes))  # type: ignore[arg-type]


def batches(plan: ProgressiveSchedule) -> list[int]:
    """The nimg at the start of each batch of the run."""
    starts, nimg = [], 0
    while nimg < plan.total_nimg:
        starts.append(nimg)
        nimg += plan.level_at(nimg).batch_size
    assert nimg == plan.total_nimg
    return starts


def test_segments_follow_each_other_without_a_gap_in_whole_batches() -> None:
    segments = schedule().segments
    assert [s.level for s in segments] == [0, 1, 2]
    assert segments[0].start == 0
    for before, after in pairwise(segments):
        assert before.stop == after.start
    assert all((s.stop - s.start) % s.batch_size == 0 for s in segments)


def test_a_level_ends_with_the_first_whole_batch_at_or_after_its_last_image() -> None:
    # 100 images are 5 batches of 20; 180 images need 12 batches of 16, or 23 batches of 8.
    assert [s.stop - s.start for s in schedule().segments] == [100, 192, 184]
    assert schedule().total_nimg == 476


def test_every_batch_of_a_run_lies_within_one_level() -> None:
    plan = schedule()
    for nimg in batches(plan):
        level = plan.level_at(nimg)
        segment = plan.segments[level.index]
        assert segment.start <= nimg < nimg + level.batch_size <= segment.stop
        assert (level.resolution, level.batch_size) == ((4, 8, 16)[level.index], segment.batch_size)


def test_a_level_counts_the_images_it_has_trained_on_before_each_batch() -> None:
    plan = schedule()
    for segment in plan.segments:
        starts = range(segment.start, segment.stop, segment.batch_size)
        assert [plan.level_at(nimg).seen for nimg in starts] == [nimg - segment.start for nimg in starts]


def test_a_short_list_repeats_its_last_entry() -> None:
    plan = schedule()
    assert [plan.level_at(s.start).lr for s in plan.segments] == [0.001, 0.002, 0.002]


def test_the_first_level_has_no_fade_and_the_others_rise_to_one_without_falling() -> None:
    plan = schedule()
    blends: dict[int, list[float]] = {}
    for nimg in batches(plan):
        level = plan.level_at(nimg)
        blends.setdefault(level.index, []).append(level.blend)
    assert set(blends[0]) == {1.0}
    for index in (1, 2):
        assert 0.0 < blends[index][0] < 1.0
        assert blends[index] == sorted(blends[index])
        assert blends[index][-1] == 1.0


def test_the_cosine_fade_is_the_half_wave_of_the_images_seen_at_the_end_of_the_batch() -> None:
    plan = schedule()
    start = plan.segments[1].start
    found = [plan.level_at(start + 16 * i).blend for i in range(5)]
    assert found == pytest.approx([0.5 - 0.5 * math.cos(math.pi * (i + 1) / 5) for i in range(5)])


@pytest.mark.parametrize("fade", ["cosine", "linear"])
def test_a_fade_is_symmetric_about_one_half_and_ends_at_one(fade: str) -> None:
    plan = schedule(fade=fade, batch_size=(20, 8, 8))
    start = plan.segments[1].start
    # Entry i is the blend of the batch that ends after i of the 10 batches of the fade.
    blends = [0.0] + [plan.level_at(start + 8 * i).blend for i in range(10)]
    assert blends[5] == pytest.approx(0.5)
    assert [b + c for b, c in zip(blends, reversed(blends), strict=True)] == pytest.approx([1.0] * 11)
    assert blends[10] == 1.0


def test_the_linear_fade_is_linear() -> None:
    plan = schedule(fade="linear")
    start = plan.segments[1].start
    assert [plan.level_at(start + 16 * i).blend for i in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_no_batch_ever_trains_with_a_blend_of_zero() -> None:
    plan = schedule(fade_kimg=(1.0,), batch_size=(1,))
    assert min(plan.level_at(nimg).blend for nimg in range(0, plan.total_nimg)) > 0.0


def test_without_a_fade_a_level_starts_at_its_full_blend() -> None:
    plan = schedule(fade_kimg=(0.0,))
    assert {plan.level_at(nimg).blend for nimg in batches(plan)} == {1.0}


def test_after_the_end_the_last_level_goes_on() -> None:
    plan = schedule()
    level = plan.level_at(plan.total_nimg + 12345)
    assert (level.index, level.blend) == (2, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolutions": ()}, r"schedule\.resolutions is empty"),
        ({"resolutions": (4, 16)}, r"schedule\.resolutions=\(4, 16\): each level must double"),
        ({"batch_size": ()}, r"schedule\.batch_size has 0 entries for 3 levels; give 1 to that many"),
        ({"lr": (1.0,) * 4}, r"schedule\.lr has 4 entries for 3 levels"),
        ({"batch_size": (0,)}, r"schedule\.batch_size=\(0,\) holds a value that is too small"),
        ({"lr": (-0.1,)}, r"schedule\.lr=\(-0\.1,\) holds a value that is too small"),
        ({"fade_kimg": (-1.0,)}, r"schedule\.fade_kimg=\(-1\.0,\) holds a value that is too small"),
        ({"stable_kimg": (0.0,)}, r"schedule\.stable_kimg: level 0 trains on no image"),
        (
            {"lr_falls_from_kimg": 5.0},
            r"schedule\.lr_falls_from_kimg=5 must be at least 0 and below the run's 0\.476 kimg",
        ),
        ({"lr_falls_from_kimg": -1.0}, r"schedule\.lr_falls_from_kimg=-1 must be at least 0"),
        ({"lr_halves_every_kimg": 0.0}, r"schedule\.lr_halves_every_kimg=0 must be above 0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_its_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(**changes)


def test_moments_are_cleared_at_each_new_level_and_where_phases_count_also_at_the_end_of_its_fade() -> None:
    levels = ProgressiveSchedule(
        resolutions=(4, 8), stable_kimg=(0.016,), fade_kimg=(0.016,), batch_size=(8,), fade="linear"
    )
    phases = replace(levels, clear_moments="phase")
    starts = range(8, levels.total_nimg, 8)
    assert [nimg for nimg in starts if levels.clears_moments_at(nimg)] == [16]
    # The second batch of the fade is trained at full blend, because the fade ends with it.
    assert [nimg for nimg in starts if phases.clears_moments_at(nimg)] == [16, 24]


def test_a_level_knows_its_depth_in_the_network_wherever_the_schedule_starts() -> None:
    schedule = ProgressiveSchedule(resolutions=(8, 16), stable_kimg=(0.016,), batch_size=(8,))
    assert [(level.index, level.depth) for level in map(schedule.level_at, (0, 16))] == [(0, 1), (1, 2)]


def rates(plan: ProgressiveSchedule) -> list[float]:
    return [plan.level_at(nimg).lr for nimg in batches(plan)]


def test_the_rate_falls_linearly_to_zero_after_the_last_batch() -> None:
    """NICE-GAN's schedule: constant in the first half, then decreasing by equal steps to 0 after the last batch."""
    plan = schedule(resolutions=(8,), stable_kimg=(0.2,), batch_size=(10,), lr=(0.4,), lr_falls_from_kimg=0.1)
    assert rates(plan) == pytest.approx([0.4] * 11 + [0.04 * left for left in range(9, 0, -1)])
    assert plan.level_at(plan.total_nimg).lr == 0.0


def test_the_rate_halves_after_each_so_many_images_and_each_level_has_its_own() -> None:
    plan = schedule(resolutions=(8,), stable_kimg=(0.09,), batch_size=(10,), lr=(0.4,), lr_halves_every_kimg=0.03)
    assert rates(plan) == [0.4] * 3 + [0.2] * 3 + [0.1] * 3
    growing = schedule(lr_halves_every_kimg=0.1)
    plain = schedule()
    for nimg in batches(growing):
        assert growing.level_at(nimg).lr == plain.level_at(nimg).lr * 0.5 ** (nimg // 100)
