"""Alarms and charts of a run: in its folder first, then in MLflow, the terminal and the tables; never in training's way."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from mlflow import MlflowClient

from alae_core.alarms import Alarm, Raised, Window
from alae_core.schedule import ProgressiveSchedule
from pipelines import presets, storage
from pipelines.cli import main
from pipelines.pictures.curves import chart, chart_page
from pipelines.runs.history import History, Tick
from pipelines.runs.layout import ALARMS
from pipelines.runs.monitor import Watch, list_charts, read_alarms
from pipelines.runs.run import Run
from pipelines.runs.values import curves
from pipelines.training.callback import Recorder
from pipelines.training.progress import follow
from tests.pipelines.training.test_progress import Heard
from tests.support.toy_run import Toy, figures, steps


def falling(windows: Sequence[Window]) -> bool:
    return windows[-1].means["a/kl"] < 0


@dataclass(frozen=True)
class Algorithm:
    """An algorithm whose KL must not be negative, and is drawn beside its margin."""

    charts: ClassVar[dict[str, tuple[str, ...]]] = {"KL, in nats": ("a/kl", "a/margin", "a/never")}

    def alarms(self) -> tuple[Alarm, ...]:
        return (Alarm(name="below", sentence="it fell; lift it", reads=("a/kl",), rule=falling, grace=0.0),)


EXPERIMENT: Any = SimpleNamespace(
    algorithm=Algorithm(),
    schedule=ProgressiveSchedule(resolutions=(32,), stable_kimg=(30.0,)),
    training=SimpleNamespace(tick_nimg=1000),
)
PAGE = np.zeros((2, 2, 3), np.uint8)
BELOW = Raised("below", 6000, "it fell; lift it (a/kl -2)", True)


def metrics(kimg: int) -> dict[str, float]:
    """Metrics of a tick whose KL falls by 1 each kimg: 2, 1, 0, ... from 1 kimg on."""
    return {"a/kl": 3.0 - kimg, "a/margin": 2.0, "progress/nimg": 1000 * kimg, "progress/kimg": kimg}


def record(recorder: Recorder, *kimgs: int, checkpoint: Any = None) -> None:
    for kimg in kimgs:
        recorder.after_report(None, [metrics(kimg)], checkpoint)  # type: ignore[arg-type]


def test_an_alarm_is_written_to_the_runs_folder_once_it_is_raised(tmp_path: Path) -> None:
    recorder = Recorder(Run(str(tmp_path)), None, EXPERIMENT)
    record(recorder, 1, 2, 3, 4, 5)
    assert read_alarms(str(tmp_path)) == () and not (tmp_path / ALARMS).exists()
    record(recorder, 6)
    assert read_alarms(str(tmp_path)) == (BELOW,)
    written = (tmp_path / ALARMS).stat().st_mtime_ns
    record(recorder, 7, 8, 9, 10)
    assert (tmp_path / ALARMS).stat().st_mtime_ns == written


def test_a_resumed_run_raises_the_same_alarm_whatever_it_repeats(tmp_path: Path) -> None:
    record(Recorder(Run(str(tmp_path)), None, EXPERIMENT), 1, 2, 3, 4)
    record(Recorder(Run(str(tmp_path)), None, EXPERIMENT), 3, 4, 5, 6, 7)
    assert read_alarms(str(tmp_path)) == (BELOW,)
    assert Watch(EXPERIMENT, tmp_path / "history.jsonl").alarms() == (BELOW,)


def test_an_alarm_that_cannot_be_written_costs_neither_tick_nor_training_and_is_written_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise storage.StorageUnreachableError("the store does not answer")

    recorder = Recorder(Run(str(tmp_path)), None, EXPERIMENT)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(storage, "write_json_verified", away)
        record(recorder, 1, 2, 3, 4, 5, 6)
    assert "the store does not answer" in caplog.text and "training goes on" in caplog.text
    assert len(History(tmp_path / "history.jsonl").records()) == 6
    assert read_alarms(str(tmp_path)) == ()
    record(recorder, 7)
    assert read_alarms(str(tmp_path)) == (BELOW,)


def test_a_damaged_file_of_alarms_is_warned_about_and_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ALARMS).write_text('{"alarms": [{"name": "x"}]}')
    assert read_alarms(str(tmp_path)) == () and "is damaged" in caplog.text


def test_a_run_without_alarms_or_charts_of_its_own_writes_neither(tmp_path: Path) -> None:
    recorder = Recorder(Run(str(tmp_path)), None, presets.load("debug_mnist32_alae"))
    record(recorder, *range(1, 11), checkpoint=object())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.jsonl"]


def test_a_chart_is_drawn_with_every_checkpoint_and_named_by_its_images(tmp_path: Path) -> None:
    recorder = Recorder(Run(str(tmp_path)), None, EXPERIMENT)
    record(recorder, 1)
    assert list_charts(str(tmp_path)) == {}
    record(recorder, 2, checkpoint=object())
    record(recorder, 3, 4, checkpoint=object())
    assert list_charts(str(tmp_path)) == {
        ("charts/kl_in_nats", nimg): f"charts/kl_in_nats_{nimg:012d}.png" for nimg in (2000, 3000, 4000)
    }
    pages = {(tmp_path / path).read_bytes() for path in list_charts(str(tmp_path)).values()}
    assert len(pages) == 3 and all(page.startswith(b"\x89PNG") for page in pages)


def test_a_run_that_is_evaluated_has_a_page_of_its_metrics_with_each_checkpoint(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("pipelines.runs.monitor.curve_page", lambda drawn: seen.append(drawn) or PAGE)
    watch, url = Watch(presets.load("debug_mnist32_alae"), toy.spool / "history.jsonl"), str(toy.run)
    watch.draw(url, 1000)
    assert list_charts(url) == {} and not seen
    toy.evaluate(1000)
    toy.evaluate(2000)
    watch.draw(url, 3000)
    assert list_charts(url) == {("charts/metrics", 3000): "charts/metrics_000000003000.png"}
    ((name, curve), *_) = seen[0].items()
    assert name.startswith("eval/") and list(curve) == [1.0, 2.0]


def test_a_chart_has_its_curves_on_one_pair_of_axes_over_kimg_with_their_values_and_names() -> None:
    ticks = [Tick(1000 * kimg, dict(metrics(kimg)), 0.0) for kimg in (1, 2, 3)]
    found = curves(Algorithm.charts["KL, in nats"], [*ticks, Tick(4000, {"a/kl": None, "a/margin": 5.0}, 0.0)])
    (axes,) = chart("KL", found).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}  # type: ignore[union-attr]
    assert lines == {"kl": [[1, 2], [2, 1], [3, 0]], "margin": [[1, 2], [2, 2], [3, 2], [4, 5]]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["kl", "margin"]  # type: ignore[union-attr]
    assert (axes.get_title(), axes.get_xlabel()) == ("KL", "kimg")
    assert len({line.get_color() for line in axes.lines}) == 2
    assert chart_page("KL", found).shape == (300, 600, 3)
    with pytest.raises(ValueError, match="no values to draw"):
        chart_page("KL", {})


def test_the_follower_reports_an_alarm_once_and_none_from_before(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    for kimg in range(1, 5):
        history.append(1000 * kimg, metrics(kimg))

    def followed(*kimgs: int) -> list[str]:
        heard = Heard(str)
        with follow(Run(str(tmp_path)), None, None, Watch(EXPERIMENT, history.path), heard):
            for kimg in kimgs:
                history.append(1000 * kimg, metrics(kimg))
        return heard.items

    assert followed(5, 6, 7) == [str(BELOW)] == ["at 6.0 kimg: it fell; lift it (a/kl -2)"]
    assert followed(8, 9, 10) == []


def test_the_table_of_runs_lists_their_alarms_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("calm", "loud"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment.json").write_text(presets.load("debug_mnist32_alae").to_json())
    record(Recorder(Run(str(tmp_path / "loud")), None, EXPERIMENT), *range(1, 7))
    assert main.main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["run", "calm", "loud"]
    assert lines[3:] == ["", f"loud: below {BELOW}"]


@pytest.mark.slow
def test_mlflow_has_alarms_as_tags_and_charts_at_their_steps_each_once(toy: Toy, client: MlflowClient) -> None:
    run = Run(str(toy.run))
    toy.run.mkdir(parents=True)
    watch = Watch(EXPERIMENT, toy.history.path)
    for kimg in range(1, 7):
        toy.history.append(1000 * kimg, metrics(kimg))
    watch.draw(run.url, 3000)
    replica = toy.replica()
    first = replica.sync()
    assert "alarm/below" not in client.get_run(first.run_id).data.tags
    watch.note(run.url)
    watch.draw(run.url, 6000)
    second, third = replica.sync(), replica.sync()
    assert (first.figures, second.figures, third.figures, toy.replica().sync().figures) == (1, 1, 0, 0)
    assert client.get_run(first.run_id).data.tags["alarm/below"] == str(BELOW)
    assert figures(client, first.run_id) == [f"images/figures~charts_kl_in_nats+step+{nimg}" for nimg in (3000, 6000)]
    assert steps(client, first.run_id, "loss/a/kl") == [1000 * kimg for kimg in range(1, 7)]


def test_an_alarm_of_a_later_level_needs_that_level(tmp_path: Path) -> None:
    two = replace(EXPERIMENT.schedule, resolutions=(16, 32), stable_kimg=(2.0, 30.0), fade_kimg=(0.0, 4.0))
    growing = SimpleNamespace(algorithm=Algorithm(), schedule=two, training=EXPERIMENT.training)
    history = History(tmp_path / "history.jsonl")
    for kimg in range(1, 12):
        history.append(1000 * kimg, metrics(kimg))
    (found,) = Watch(growing, history.path).alarms()  # type: ignore[arg-type]
    # The first level is shorter than a window; the second is watched from the end of its fade at 6.016 kimg.
    assert found.nimg == 2016 + 4000 + 3000
