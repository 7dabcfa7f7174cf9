"""Commands: their output; each error is one sentence with status 2 and without a traceback."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines import presets
from pipelines.cli import main, tables
from pipelines.data.format.shards import Dataset
from pipelines.experiment import Experiment
from pipelines.runs import layout
from pipelines.runs.run import Run
from pipelines.training import progress, trainer
from tests.support.commands import refused


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.main(list(arguments)) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def test_an_unknown_preset_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", "debug_style_ale")
    assert message == (
        "alae train: debug_style_ale is not a preset; did you mean debug_mnist32_style_alae? alae presets lists them all\n"
    )


def test_an_unknown_field_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", "debug_mnist32_alae", "training.tick_kmg=2")
    assert "training.tick_kmg is not a field; did you mean training.tick_kimg?" in message


def test_a_field_without_its_group_is_refused_with_the_whole_path(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "train", "debug_mnist32_alae", "workers=2")
    assert "did you mean evaluation.workers or scaling.workers?" in message


@pytest.mark.parametrize(
    ("assignment", "rule"),
    [
        ("training.checkpoint_ticks=often", "must be a whole number at least 1"),
        ("scaling.workers=1.5", "must be a whole number at least 1"),
        ("data.flip=maybe", "must be true or false"),
        ("training.precision=fp64", "must be one of fp32, bf16"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_it_must_be(
    capsys: pytest.CaptureFixture[str], assignment: str, rule: str
) -> None:
    assert f"{assignment} {rule}" in refused(capsys, "train", "debug_mnist32_alae", assignment)


def test_a_missing_dataset_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    message = refused(
        capsys, "train", "debug_mnist32_alae", f"data.path={tmp_path}/none", f"training.storage={tmp_path}/runs"
    )
    assert "is not a packed dataset: it does not exist" in message
    assert not (tmp_path / "runs").exists()


def test_a_resume_with_changed_settings_is_refused(
    capsys: pytest.CaptureFixture[str], tiny_dataset: Path, tmp_path: Path
) -> None:
    settings = ["debug_mnist32_alae", f"data.path={tiny_dataset}", f"training.storage={tmp_path}"]
    begun = Experiment.from_json(printed(capsys, "show", "--json", *settings))
    run = Run.of(begun)
    run.claim(begun, [Dataset.open(str(tiny_dataset))])
    saved = Path(run.url) / layout.checkpoint_name(8)
    saved.mkdir()
    (saved / layout.MANIFEST).write_text("{}")
    message = refused(capsys, "train", *settings, "seed=5")
    assert "was started with other settings: seed: 0 -> 5. Repeat the earlier settings" in message


def test_a_run_that_fails_is_status_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(experiment: Experiment, **listeners: object) -> None:
        raise RuntimeError("discriminator/fake is not finite at 3.2 kimg")

    monkeypatch.setattr(trainer, "train", failing)
    message = refused(capsys, "train", "debug_mnist32_alae", status=1)
    assert message == "alae train: discriminator/fake is not finite at 3.2 kimg\n"


def test_an_interrupted_run_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(experiment: Experiment, **listeners: object) -> None:
        raise KeyboardInterrupt("stopped; 3 kimg are safe")

    monkeypatch.setattr(trainer, "train", interrupted)
    message = refused(capsys, "train", "debug_mnist32_alae", status=130)
    assert message == "alae train: stopped; 3 kimg are safe\n"


def test_train_prints_each_tick_and_the_summary(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    class Low:
        name = "too_low"

        def __str__(self) -> str:
            return "is low"

    def quick(experiment: Experiment, **on: Any) -> object:
        trained.append(experiment)
        on["on_phase"]("starting")
        on["on_tick"]("tick")
        on["on_alarm"](Low())
        return "outcome"

    monkeypatch.setattr(trainer, "train", quick)
    monkeypatch.setattr(progress.Table, "lines", lambda table, tick: ["heading", f"line of {tick}"])
    monkeypatch.setattr(tables, "summary", lambda outcome: f"summary of {outcome}")
    output = printed(capsys, "train", "debug_mnist32_alae", "name=a", "seed=4")
    lines = ["loading debug_mnist32_alae", "starting", "heading", "line of tick", "alarm too_low is low"]
    assert [line[line.index(":") + 5 :] for line in output.splitlines()[:-1]] == lines
    assert output.splitlines()[-1] == "summary of outcome"
    assert (trained[0].name, trained[0].seed) == ("a", 4)


def test_show_prints_an_experiment_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Experiment.from_json(printed(capsys, "show", "debug_mnist32_alae", "seed=9", "--json"))
    assert shown.seed == 9 and shown.algorithm == presets.load("debug_mnist32_alae").algorithm


def test_show_refuses_what_does_not_fit_together(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "show", "debug_mnist32_alae", "training.microbatch=3")
    assert "training.microbatch=3 does not divide 8/1 ranks = 8 images per rank; use 1, 2, 4 or 8" in message


def test_a_dataset_is_packed_shown_and_verified(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20) % 2)
    packed = printed(capsys, "pack", str(tmp_path / "a.npz"), str(tmp_path / "d"), "--resolution", "8")
    assert packed == f"packed 20 train images of 8x8 px into {tmp_path}/d\n"
    assert "8x8 grayscale" in printed(capsys, "data", "show", str(tmp_path / "d"))
    assert printed(capsys, "data", "verify", str(tmp_path / "d")) == f"{tmp_path}/d is sound\n"
    next((tmp_path / "d" / "train").iterdir()).unlink()
    assert main.main(["data", "verify", str(tmp_path / "d")]) == 1
    assert "is missing" in capsys.readouterr().out


def test_the_options_of_a_packing_reach_the_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (20, 130, 140, 3), np.uint8))
    options = (
        "--square center_crop --encoding jpeg --rows-per-shard 8 --validation 0.25 --seed 3 --executor here".split()
    )
    printed(capsys, "pack", str(tmp_path / "a.npz"), str(tmp_path / "d"), *options)
    manifest = Dataset.open(str(tmp_path / "d")).manifest
    assert (manifest.square, manifest.encoding, manifest.rows_per_shard) == ("center_crop", "jpeg", 8)
    assert (manifest.validation_fraction, manifest.seed, manifest.columns["r128"]) == (0.25, 3, "jpeg")


def test_a_dry_run_of_a_packing_tells_what_there_would_be_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((70, 300, 260, 3), np.uint8))
    arguments = ("pack", str(tmp_path / "a.npz"), str(tmp_path / "d"), "--rows-per-shard", "32", "--dry-run")
    source, size = printed(capsys, *arguments).splitlines()
    assert "70 images" in source
    assert size == "at 256x256 px about 8.8 MiB in 3 shards of up to 32 images"
    assert not (tmp_path / "d").exists()
    assert "encoding='webp' is unknown" in refused(capsys, *arguments, "--encoding", "webp")


def test_two_domains_are_packed_shown_and_verified(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 10, 8, 20), np.uint8)
    for name, domain in zip("xy", images, strict=True):
        np.savez(tmp_path / f"{name}.npz", images=domain)
    arguments = ("pack", f"{tmp_path}/x.npz", f"{tmp_path}/d", "--second", f"{tmp_path}/y.npz", "--windows", "2")
    assert "20 images" not in printed(capsys, *arguments, "--dry-run") and not (tmp_path / "d").exists()
    told = printed(capsys, *arguments, "--validation", "0.2", "--min-deviation", "1", "--seed", "4")
    assert told == "".join(f"packed 16 train, 4 validation images of 8x8 px into {tmp_path}/d/{k}\n" for k in "ab")
    manifests = [Dataset.open(f"{tmp_path}/d/{domain}").manifest for domain in "ab"]
    assert [(each.windows, each.min_deviation, each.seed) for each in manifests] == [(2, 1.0, 4)] * 2
    assert printed(capsys, "data", "show", f"{tmp_path}/d").count("2 squares of each image by shorter_side") == 2
    assert printed(capsys, "data", "verify", f"{tmp_path}/d") == f"{tmp_path}/d is sound\n"
    message = refused(capsys, "pack", f"{tmp_path}/x.npz", f"{tmp_path}/e", "--domains", "folders")
    assert "has no folder trainA or A with images" in message


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--square", "stretch"), "square='stretch' is unknown; use one of shorter_side, center_crop, pad"),
        (("--executor", "spark"), "executor='spark' is unknown; use one of auto, here, ray"),
        (("--rows-per-shard", "0"), "rows_per_shard=0 must be at least 1"),
    ],
)
def test_an_option_of_a_packing_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: tuple[str, str], sentence: str
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8))
    assert sentence in refused(capsys, "pack", str(tmp_path / "a.npz"), str(tmp_path / "d"), *option)


def test_track_of_a_folder_that_is_no_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is not a run: it has no experiment.json" in refused(capsys, "track", str(tmp_path))


def test_track_of_a_server_that_does_not_answer_is_status_1_and_names_it_without_its_password(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(SimpleNamespace):
        def sync(self, **options: object) -> None:
            raise ConnectionError("http://user:hidden@127.0.0.1:1 refused")

    (tmp_path / "experiment.json").write_text(presets.load("debug_mnist32_alae").to_json())
    monkeypatch.setattr("pipelines.training.callback.MLflowReplica", Away)
    message = refused(capsys, "track", str(tmp_path), "--uri", "http://user:hidden@127.0.0.1:1", status=1)
    assert "127.0.0.1:1 does not take the run" in message and "hidden" not in message


def test_the_experiment_printed_by_show_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, "show", "debug_mnist32_style_alae", "--json"))["schedule"]["resolutions"] == [
        4,
        8,
    ]
