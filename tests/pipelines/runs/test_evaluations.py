"""An evaluation's record holds each value once, and records of earlier versions read alike."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alae_core.metrics.estimate import Estimate
from alae_core.metrics.protocol_names import parse
from pipelines import storage
from pipelines.runs import layout
from pipelines.runs.evaluations import (
    Evaluation,
    EvaluationError,
    Evaluations,
    Measured,
    read_evaluation,
    read_evaluations,
    write_evaluation,
)
from pipelines.runs.results import readings
from tests.support.measured import evaluate

PATH = "evaluations/000000000480.json"
STORED = """{
  "nimg": 480,
  "time": 1796038987.768215,
  "metrics": {
    "eval/fd_classifier0.032k": 77.84959298351089,
    "eval/fd_classifier0.032k_se": 2.6054598784765193,
    "eval/reconstruction_l1": 0.5580143928527832,
    "eval/reconstruction_l2": 0.4271375834941864,
    "eval/resolution": 8.0,
    "eval/samples": 32.0,
    "eval/seconds": 0.055355937999991056
  },
  "measured": {
    "fd_classifier0.032k": {
      "protocol": {"metric": "fd", "images": 32, "extractor": "classifier", "full": true, "split": "train",
        "of": "samples", "to": null, "paired": false, "subsets": null, "subset_size": null, "neighbours": null,
        "each": null, "space": null, "path": null, "long": false, "crop": "none", "truncation": 1.0, "mixing": 0.0,
        "rounding": "nearest", "resize": "extractor", "mirrored": false},
      "weights": "3da19dbcf8fd2255ae363abdde4757df8680c349c90d741ff9dc53d9755e411d",
      "estimates": {
        "fd_classifier0.032k": {"value": 77.84959298351089, "standard_error": 2.6054598784765193, "count": 32,
          "notes": ["32 images are fewer than the 64 features, which biases the distance upwards"]}
      }
    }
  },
  "figures": {"reals": "figures/reals_000000000480.png"},
  "checkpoint": "/data/runs/finished/checkpoint_000000000480",
  "dataset": {"name": "dataset", "url": "/data/dataset", "digest": "1b23844dc166ba69"},
  "resolution": 8
}
"""
"""The record of a run of version 0.1, which holds its estimates twice."""


def stored(run: Path, text: str = STORED) -> Evaluation:
    (run / PATH).parent.mkdir(exist_ok=True)
    (run / PATH).write_text(text)
    return read_evaluation(str(run), PATH)


def leaves(value: Any) -> Iterator[Any]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from (leaf for item in items for leaf in leaves(item))
    if not isinstance(value, dict | list):
        yield value


def just_taken(**changes: Any) -> Evaluation:
    measured = [
        Measured(parse("fd_pixels1k"), {"fd_pixels1k": Estimate(3.25, 0.125, 1000, ("a note",))}, "", "pixels8")
    ]
    dataset: Any = SimpleNamespace(url="s3://data/faces", identity={"train": "abc"})
    arguments: dict[str, Any] = {
        "metrics": {"eval/fd_pixels1k": 3.25, "eval/reconstruction_l1": 0.75, "eval/resolution": 16.0},
        "figures": {"reals": "figures/reals.png"},
    }
    return Evaluation.now("s3://runs/a/checkpoint", 480, 16, (dataset,), measured, **arguments | changes)


def test_a_record_of_version_0_1_reads_with_the_same_values_in_the_same_order(tmp_path: Path) -> None:
    found = stored(tmp_path)
    assert list(found.metrics.items()) == list(json.loads(STORED)["metrics"].items())
    assert (found.nimg, found.time, found.resolution, found.own) == (480, 1796038987.768215, 8, True)
    assert found.figures == {"reals": "figures/reals_000000000480.png"}
    assert found.checkpoint == f"{tmp_path}/checkpoint_000000000480"  # the run was moved here from /data/runs
    reading = readings(found)["fd_classifier0.032k"]
    assert reading.estimate == Estimate(
        77.84959298351089,
        2.6054598784765193,
        32,
        ("32 images are fewer than the 64 features, which biases the distance upwards",),
    )
    assert reading.protocol == parse("fd_classifier0.032k") and reading.dataset == "1b23844dc166ba69"
    assert reading.weights.startswith("3da19dbc") and reading.resolution == 8


def test_the_first_records_hold_metrics_alone_and_read(tmp_path: Path) -> None:
    found = stored(tmp_path, '{"nimg": 480, "metrics": {"eval/fd": 1.5, "eval/l1": null}, "time": 1}')
    assert found.metrics == {"eval/fd": 1.5, "eval/l1": None} and readings(found) == {}
    assert (found.checkpoint, found.dataset, found.resolution) == (None, None, None)


def test_a_new_record_holds_each_value_once_and_comes_back_whole(tmp_path: Path) -> None:
    taken = just_taken()
    url = write_evaluation(str(tmp_path), taken)
    assert url == f"{tmp_path}/{PATH}"
    record = storage.read_json(url)
    assert record["metrics"] == {"eval/reconstruction_l1": 0.75}
    found = list(leaves(record))
    assert [found.count(value) for value in (3.25, 0.125, 0.75, 16, 480)] == [1] * 5
    assert read_evaluation(str(tmp_path), PATH) == replace(taken, checkpoint=f"{tmp_path}/checkpoint")
    assert taken.metrics == {
        "eval/fd_pixels1k": 3.25,
        "eval/fd_pixels1k_se": 0.125,
        "eval/reconstruction_l1": 0.75,
        "eval/resolution": 16.0,
    }


def test_an_old_record_that_is_written_again_loses_nothing(tmp_path: Path) -> None:
    old = stored(tmp_path)
    write_evaluation(str(tmp_path), old)
    again = read_evaluation(str(tmp_path), PATH)
    assert again == old and (tmp_path / PATH).read_text().count("77.849592983510") == 1


def test_an_added_evaluation_has_the_metrics_that_were_asked_for_and_no_others(tmp_path: Path) -> None:
    added = just_taken(own=False, metrics=None, figures=None)
    url = write_evaluation(str(tmp_path), added, "5f5c")
    found = read_evaluation(str(tmp_path), layout.evaluation_path(480, "5f5c"))
    assert url.endswith("480_5f5c.json") and found == replace(added, checkpoint=found.checkpoint) and not found.own
    assert set(found.metrics) == {"eval/fd_pixels1k", "eval/fd_pixels1k_se"} and found.resolution == 16


def test_a_value_that_is_not_finite_is_none_and_stays_so(tmp_path: Path) -> None:
    broken = [Measured(parse("fd_pixels1k"), {"fd_pixels1k": Estimate(float("nan"), None, 1000)})]
    dataset: Any = SimpleNamespace(url="faces", identity={"train": "abc"})
    taken = Evaluation.now("c", 480, 8, (dataset,), broken, {"eval/l1": float("inf")})
    write_evaluation(str(tmp_path), taken)
    found = read_evaluation(str(tmp_path), PATH).metrics
    assert found == taken.metrics == {"eval/fd_pixels1k": None, "eval/l1": None, "eval/resolution": 8.0}


def test_why_a_metric_was_left_out_comes_back() -> None:
    left = Measured(parse("msssim1k"), {}, "images of 4 px are too small", "")
    assert Measured.of(json.loads(json.dumps(left.record()))) == left


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"nimg": 480}', '{"nimg": 1, "metrics": {"a": "b"}}', "\x00"])
def test_what_is_no_evaluation_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(EvaluationError, match=f"^{PATH} is not an evaluation: "):
        stored(tmp_path, text)


def test_a_run_s_evaluations_are_read_once_and_one_that_was_not_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda url: (reads.append(url), read(url))[1])
    for nimg in (480, 960):
        evaluate(tmp_path, nimg, fd_pixels1k=1.0)
    whole = (tmp_path / PATH).read_text()
    (tmp_path / PATH).write_text(whole[:50])
    evaluations = Evaluations(str(tmp_path))
    assert [each.nimg for each in evaluations.all()] == [960]
    (tmp_path / PATH).write_text(whole)
    assert [each.nimg for each in evaluations.all()] == [480, 960] and len(reads) == 3
    assert evaluations.all() == read_evaluations(str(tmp_path)) and len(reads) == 5


@pytest.mark.parametrize("place", ["checkpoint_000000000480", "best/checkpoint_000000000480"])
def test_a_copied_run_s_evaluations_name_the_checkpoints_of_the_copy(tmp_path: Path, place: str) -> None:
    taken = replace(just_taken(), checkpoint=f"{tmp_path}/a/{place}")
    url = write_evaluation(f"{tmp_path}/a", taken)
    assert json.loads(Path(url).read_text())["checkpoint"] == place
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for name in "ab":
        assert read_evaluation(f"{tmp_path}/{name}", PATH).checkpoint == f"{tmp_path}/{name}/{place}"
