"""The local history keeps every tick once, whatever happens to the process that writes it."""

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipelines.runs.history import History, Tick, read_history


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "toy" / "history.jsonl"


def test_ticks_come_back_in_order_with_their_metrics(path: Path) -> None:
    history = History(path)
    history.append(2000, {"discriminator/loss": 0.5, "progress/level": 1}, time=11.0)
    history.append(1000, {"discriminator/loss": 0.7}, time=10.0)
    assert History(path).records() == [
        Tick(1000, {"discriminator/loss": 0.7}, 10.0),
        Tick(2000, {"discriminator/loss": 0.5, "progress/level": 1}, 11.0),
    ]
    assert [tick.nimg for tick in history.after(1000)] == [2000]


def test_a_line_is_one_json_object(path: Path) -> None:
    History(path).append(1000, {"loss": 0.5}, time=10.0)
    assert json.loads(path.read_text()) == {"nimg": 1000, "time": 10.0, "metrics": {"loss": 0.5}}


def test_a_tick_repeated_after_a_resume_keeps_its_first_record(path: Path) -> None:
    assert History(path).append(1000, {"loss": 0.5})
    resumed = History(path)
    assert not resumed.append(1000, {"loss": 0.5, "time/sec_per_kimg": 9.0})
    assert [tick.metrics for tick in resumed.records()] == [{"loss": 0.5}]


def test_a_torn_last_line_is_ignored_by_readers_and_removed_by_the_next_writer(path: Path) -> None:
    History(path).append(1000, {"loss": 0.5}, time=10.0)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"nimg": 2000, "metr')
    assert [tick.nimg for tick in read_history(path)[0]] == [1000]
    assert path.read_bytes() != whole, "reading must not repair: the writer may be at work"
    resumed = History(path)
    assert path.read_bytes() == whole
    assert resumed.append(2000, {"loss": 0.4})
    assert [tick.nimg for tick in resumed.records()] == [1000, 2000]


def test_reading_goes_on_where_it_stopped(path: Path) -> None:
    history = History(path)
    assert read_history(path) == ([], 0)
    history.append(1000, {})
    _, offset = read_history(path)
    history.append(2000, {})
    with path.open("ab") as file:
        file.write(b'{"nimg": 3000')
    ticks, next_offset = read_history(path, offset)
    assert [tick.nimg for tick in ticks] == [2000]
    assert read_history(path, next_offset) == ([], next_offset)


def test_a_damaged_line_inside_the_file_loses_only_itself(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = History(path)
    history.append(1000, {})
    with path.open("ab") as file:
        file.write(b"\0\0\0\n")
    history.append(2000, {})
    assert [tick.nimg for tick in history.records()] == [1000, 2000]
    assert "is not a tick" in caplog.text


def test_numpy_scalars_are_plain_numbers_and_non_finite_values_are_null(path: Path) -> None:
    history = History(path)
    history.append(1000, {"a": np.float32(0.5), "b": np.int64(3), "c": float("nan"), "d": float("inf"), "e": True})
    assert history.records()[0].metrics == {"a": 0.5, "b": 3, "c": None, "d": None, "e": 1}


def test_a_metric_that_is_not_a_number_is_refused_by_name_and_nothing_is_written(path: Path) -> None:
    history = History(path)
    with pytest.raises(ValueError, match="metric note='text' is not a number"):
        history.append(1000, {"loss": 0.5, "note": "text"})
    assert history.records() == []
    assert history.append(1000, {"loss": 0.5})


def test_a_full_disk_leaves_no_half_line_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path)
    history.append(1000, {"loss": 0.5})
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:7]))
    with pytest.raises(OSError, match="free some space"):
        history.append(2000, {"loss": 0.4})
    monkeypatch.setattr(os, "write", write)
    assert history.append(2000, {"loss": 0.4}), "a tick that was not written may be written again"
    assert path.read_bytes().count(b"\n") == 2 and len(history.records()) == 2


def test_a_refused_write_is_reported_to_the_caller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, line: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    history = History(path)
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        history.append(1000, {"loss": 0.5})


def test_a_history_travels_to_another_process(path: Path) -> None:
    History(path).append(1000, {"loss": 0.5})
    travelled = pickle.loads(pickle.dumps(History(path)))
    assert not travelled.append(1000, {"loss": 0.5})
    assert travelled.append(2000, {"loss": 0.4})
