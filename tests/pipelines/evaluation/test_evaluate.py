"""`alae evaluate`: the table, the record and the errors; in one process, without Ray."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from alae_core.metrics.protocol_names import parse
from pipelines import presets
from pipelines.cli import main
from pipelines.evaluation.evaluate import describe, evaluate_again
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs import layout
from pipelines.runs.evaluations import list_evaluations, read_evaluation
from tests.support import tiny
from tests.support.commands import refused

AT = (800, 4000)
"""nimg of the run's two checkpoints; the second has the finer level."""


@pytest.fixture
def experiment(tiny_dataset: Path) -> Experiment:
    return override(presets.load("debug_mnist32_style_alae"), [f"data.path={tiny_dataset}", "evaluation.samples=40"])


@pytest.fixture
def run(experiment: Experiment, tmp_path: Path) -> str:
    """The folder of a run with two checkpoints."""
    state = tiny.build(experiment)
    for nimg in AT:
        state.nimg = nimg
        tiny.checkpointed(tmp_path / "run", state, experiment)
    return str(tmp_path / "run")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.main(["evaluate", *arguments]) == 0
    assert not ray.is_initialized()
    return capsys.readouterr().out


def test_the_table_has_value_error_protocol_and_notes_of_the_newest_checkpoint(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, run, "--metrics", "fd_pixels0.05k,reciprocity0.05k,pr_pixels0.05k3").splitlines()
    assert lines[0] == f"{run}/{layout.checkpoint_name(4000)} at 4 kimg"
    distance, note, reciprocity = lines[2:5]
    assert distance.startswith("fd_pixels0.05k ") and " ± " in distance
    assert distance.endswith("50 samples, features of pixels, against the whole train split")
    assert note.strip() == "note: 50 images are fewer than the 64 features, which biases the distance upwards"
    assert reciprocity.startswith("reciprocity0.05k ") and reciprocity.endswith("  50 codes")
    assert [line.split()[0] for line in lines[6:8]] == ["pr_pixels0.05k3_precision", "pr_pixels0.05k3_recall"]
    assert lines[-1].startswith(f"kept in {run}/evaluations/000000004000_")


def test_the_record_is_an_evaluation_of_the_run_beside_its_own(run: str) -> None:
    own = Path(run, layout.evaluation_path(4000))
    own.parent.mkdir()
    own.write_text(json.dumps({"nimg": 4000, "metrics": {"eval/a": 1.0}}))
    found = evaluate_again(run, ["fd_pixels0.05k"])
    paths = list_evaluations(run)
    assert [f"{run}/{path}" for path in paths] == [str(own), found.record]
    evaluation = read_evaluation(run, paths[1])
    estimate = found.measured[0].estimates["fd_pixels0.05k"]
    assert evaluation.nimg == 4000 and evaluation.checkpoint == found.checkpoint
    assert evaluation.metrics == {
        "eval/fd_pixels0.05k": estimate.value,
        "eval/fd_pixels0.05k_se": estimate.standard_error,
    }
    stored = json.loads(Path(found.record).read_text())["measured"]["fd_pixels0.05k"]
    assert type(parse("fd_pixels0.05k"))(**stored["protocol"]) == parse("fd_pixels0.05k")
    assert json.loads(own.read_text())["metrics"] == {"eval/a": 1.0}
    assert evaluate_again(run, ["fd_pixels0.05k"]).record == found.record


def test_a_checkpoint_may_be_named_and_the_metrics_are_the_experiment_s_by_default(run: str) -> None:
    found = evaluate_again(f"{run}/{layout.checkpoint_name(800)}/")
    assert found.nimg == 800
    assert [each.protocol.name for each in found.measured] == ["fd_pixels0.04k"]


def test_samples_replace_the_number_in_every_name(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, run, "--metrics", "fd_pixels5k,kd_pixels50k_pairs", "--samples", "30")
    assert "fd_pixels0.03k " in out and "kd_pixels0.03k_pairs " in out


def test_settings_of_the_evaluation_may_be_changed_and_no_others(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "evaluate", run, "training.tick_kimg=1") == (
        'alae evaluate: "training.tick_kimg=1" is not for an evaluation; it may set evaluation.* and data.path\n'
    )
    message = refused(
        capsys, "evaluate", run, f"evaluation.inception_weights={tmp_path}/none", "--metrics", "fid5k_full"
    )
    assert f"evaluation.inception_weights={tmp_path}/none does not exist" in message


def test_what_is_no_run_or_metric_is_refused(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is neither a checkpoint nor a run that has a finished one" in refused(
        capsys, "evaluate", str(tmp_path / "none")
    )
    assert "metric 'fid' is not known" in refused(capsys, "evaluate", run, "--metrics", "fid")
    assert "or use fd_lite0_5k or fd_classifier5k" in refused(capsys, "evaluate", run, "--metrics", "fid5k_full")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fid50k_mixed0.9_floored_mirrored", "50,000 samples, features of inception, against as many of the train split, "
         "styles mixed with probability 0.9, floored to bytes, reals mirrored randomly"),
        ("ppl_wend_face", "100,000 paths, features of vgg16, end paths in W, crop face"),
        ("kid10k_x1000", "10,000 samples, features of inception, against as many of the train split, 100 subsets of 1,000"),
        ("l2_1k_recon_validation", "1,000 reconstructions, of the validation split"),
        ("msssim10k_psi0.7", "10,000 pairs, psi 0.7"),
    ],
)  # fmt: skip
def test_a_protocol_is_told_in_words(name: str, sentence: str) -> None:
    assert describe(parse(name)) == sentence
    assert describe(replace(parse(name), images=7)).startswith("7 ")
