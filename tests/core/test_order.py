"""The image stream: each image once per epoch, independent of level, workers and resumes."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

from alae_core import order as ordering
from alae_core.order import StreamOrder, Window, spans, windows
from alae_core.schedule import ProgressiveSchedule

GROUPS = (7, 1, 12, 0, 5, 20, 3)
IMAGES = sum(GROUPS)
SCHEDULE = ProgressiveSchedule(
    resolutions=(4, 8, 16), stable_kimg=(0.05, 0.09, 0.2), fade_kimg=(0.02,), batch_size=(12, 8, 6)
)
CHANNELS = 1
PINNED = [4, 2, 0, 7, 1, 3, 6, 5, 2, 3, 0, 1]
"""The first twelve rows for groups of 3 and 5 rows and seed 0."""


def rows_of_run(order: StreamOrder, nimg: int = 0, window_images: int = 30) -> list[int]:
    """The rows that a run at `nimg` still reads, in order."""
    found: list[int] = []
    for window in windows(SCHEDULE, window_images, CHANNELS, nimg):
        rows = order.rows(window.start, window.stop)
        found.extend(rows[max(0, nimg - window.start) :].tolist())
    return found


def batch_starts() -> list[int]:
    starts, nimg = [], 0
    while nimg < SCHEDULE.total_nimg:
        starts.append(nimg)
        nimg += SCHEDULE.level_at(nimg).batch_size
    return starts


@pytest.mark.parametrize("window_images", [1, 30, 47, 10_000])
def test_every_image_comes_once_per_epoch_across_levels_of_other_batches_and_windows(
    window_images: int,
) -> None:
    stream = rows_of_run(StreamOrder(GROUPS, 3), window_images=window_images)
    assert len(stream) == SCHEDULE.total_nimg > 5 * IMAGES
    for epoch in range(SCHEDULE.total_nimg // IMAGES):
        assert sorted(stream[epoch * IMAGES : (epoch + 1) * IMAGES]) == list(range(IMAGES))


def test_a_resume_at_any_batch_continues_the_same_sequence() -> None:
    whole = rows_of_run(StreamOrder(GROUPS, 3))
    for nimg in batch_starts():
        assert rows_of_run(StreamOrder(GROUPS, 3), nimg) == whole[nimg:]


def test_windows_planned_from_the_middle_are_the_last_of_those_planned_from_the_start() -> None:
    whole = list(windows(SCHEDULE, 30, CHANNELS))
    for nimg in batch_starts():
        rest = list(windows(SCHEDULE, 30, CHANNELS, nimg))
        assert rest == whole[-len(rest) :]
        assert rest[0].start <= nimg < rest[0].stop


@pytest.mark.parametrize("window_images", [1, 30, 10_000])
def test_windows_cover_each_level_exactly_in_whole_batches(window_images: int) -> None:
    found: dict[int, list[Window]] = {}
    for window in windows(SCHEDULE, window_images, CHANNELS):
        found.setdefault(window.level, []).append(window)
    for segment in SCHEDULE.segments:
        own = found[segment.level]
        assert (own[0].start, own[-1].stop) == (segment.start, segment.stop)
        assert all(a.stop == b.start for a, b in pairwise(own))
        assert {(w.stop - w.start) % segment.batch_size for w in own} == {0}
        assert all(w.stop - w.start <= max(window_images, segment.batch_size) for w in own)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_any_number_of_workers_together_sees_the_same_batches(ranks: int) -> None:
    plan = ProgressiveSchedule(resolutions=(4,), stable_kimg=(0.12,), batch_size=(12,))
    order = StreamOrder(GROUPS, 3)
    batches: list[list[int]] = []
    for window in windows(plan, 24, CHANNELS):
        rows = order.rows(window.start, window.stop).reshape(-1, ranks, 12 // ranks)
        batches.extend(np.concatenate(list(batch)).tolist() for batch in rows)
    assert batches == np.concatenate([order.rows(s, s + 24) for s in range(0, 120, 24)]).reshape(-1, 12).tolist()


FINE = ProgressiveSchedule(resolutions=(256, 512, 1024), stable_kimg=(5.0,), batch_size=(48, 32, 16))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_of_fine_images_holds_as_many_batches_as_fit_its_bytes(channels: int) -> None:
    for level, resolution in enumerate(FINE.resolutions):
        own = [window for window in windows(FINE, 2048, channels) if window.level == level]
        image = resolution * resolution * channels
        largest, batch = max(window.stop - window.start for window in own), own[0].batch_size
        assert largest == 2048 // batch * batch or largest * image <= ordering.WINDOW_BYTES < (largest + batch) * image
        assert [window for window in windows(FINE, largest, channels) if window.level == level] == own


def test_a_window_holds_one_batch_even_if_that_takes_more_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "WINDOW_BYTES", 1)
    for window in windows(SCHEDULE, 30, CHANNELS):
        assert window.stop - window.start == window.batch_size


@pytest.mark.parametrize("images", [1, 40, 100, 10_000])
def test_spans_are_the_windows_in_whole_groups_of_one_level(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "SPAN_IMAGES", images)
    found = list(spans(SCHEDULE, 30, CHANNELS))
    assert [window for span in found for window in span.windows] == list(windows(SCHEDULE, 30, CHANNELS))
    for span in found:
        assert {window.level for window in span.windows} == {span.level}
        assert span.resolution == SCHEDULE.resolutions[span.level]
        assert (span.start, span.stop) == (span.windows[0].start, span.windows[-1].stop)
        assert len(span.windows) == 1 or span.stop - span.start <= images
    assert any(len(span.windows) > 1 for span in found) == (images > 40)


def test_a_span_holds_no_more_bytes_than_it_may_unless_a_window_does() -> None:
    for span in [*spans(FINE, 64, 3), *spans(FINE, 2048, 3)]:
        took = (span.stop - span.start) * span.resolution**2 * 3
        assert took <= ordering.SPAN_BYTES or len(span.windows) == 1


def test_a_resume_cuts_the_first_span_short_and_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "SPAN_IMAGES", 100)
    whole = list(spans(SCHEDULE, 30, CHANNELS))
    for nimg in batch_starts():
        first, *rest = spans(SCHEDULE, 30, CHANNELS, nimg)
        assert rest == whole[len(whole) - len(rest) :]
        assert first.windows[0].start <= nimg < first.windows[0].stop
        undisturbed = whole[len(whole) - len(rest) - 1]
        assert first.windows == undisturbed.windows[-len(first.windows) :]


def test_another_seed_and_another_epoch_give_another_order() -> None:
    order = StreamOrder(GROUPS, 3)
    first, second = order.rows(0, IMAGES), order.rows(IMAGES, 2 * IMAGES)
    assert first.tolist() != second.tolist()
    assert first.tolist() != StreamOrder(GROUPS, 4).rows(0, IMAGES).tolist()
    assert first.tolist() != list(range(IMAGES))


def test_one_group_is_shuffled_too() -> None:
    rows = StreamOrder((100,), 0).rows(0, 100)
    assert sorted(rows) == list(range(100)) and rows.tolist() != list(range(100))


def test_a_window_reads_from_as_few_groups_as_hold_its_images() -> None:
    rows = StreamOrder((10,) * 20, 3).rows(0, 30)
    assert len(set(rows // 10)) == 3


def test_an_order_survives_pickling() -> None:
    order = StreamOrder(GROUPS, 3)
    order.rows(0, 5)
    again = pickle.loads(pickle.dumps(order))
    assert again.rows(20, 90).tolist() == order.rows(20, 90).tolist()


def test_the_order_of_a_seed_is_the_same_in_every_version() -> None:
    assert StreamOrder((3, 5), 0).rows(0, 12).tolist() == PINNED


def test_a_dataset_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="the dataset holds no images"):
        StreamOrder((0, 0), 1)


def test_the_second_domain_has_an_order_of_its_own_and_the_first_that_of_a_run_of_one_domain() -> None:
    alone, first, second = StreamOrder(GROUPS, 0), StreamOrder(GROUPS, 0, 0), StreamOrder(GROUPS, 0, 1)
    whole = alone.rows(0, 2 * IMAGES).tolist()
    assert first.rows(0, 2 * IMAGES).tolist() == whole
    of_second = second.rows(0, 2 * IMAGES).tolist()
    assert of_second != whole and sorted(of_second) == sorted(whole)
    assert pickle.loads(pickle.dumps(second)).rows(0, 2 * IMAGES).tolist() == of_second
