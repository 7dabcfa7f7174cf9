"""A mistake that the user can correct is one sentence, raised on the driver before any Ray process exists."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from pipelines import presets
from pipelines.data.pack.pack import pack
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from pipelines.runs.run import Run
from pipelines.storage import StorageError
from pipelines.training import preflight, trainer
from tests.support.packed import pack_two_domains


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse() -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(trainer, "connect", refuse)
    yield
    assert not ray.is_initialized()


@pytest.fixture
def experiment(tiny_dataset: Path, tmp_path: Path) -> Experiment:
    """Fits its dataset and its storage."""
    return override(
        presets.load("debug_mnist32_style_alae"), [f"data.path={tiny_dataset}", f"training.storage={tmp_path / 'runs'}"]
    )


def refusal(experiment: Experiment, *changes: str) -> str:
    """The sentence with which `train` refuses the changed experiment."""
    with pytest.raises(ValueError) as caught:
        trainer.train(override(experiment, changes))
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message
    return message


def test_what_fits_gets_as_far_as_ray(experiment: Experiment) -> None:
    with pytest.raises(AssertionError, match="Ray was started"):
        trainer.train(experiment)


def test_a_dataset_that_is_not_there_is_named_with_the_command_that_makes_one(
    experiment: Experiment, tmp_path: Path
) -> None:
    message = refusal(experiment, f"data.path={tmp_path}/faces")
    assert f"{tmp_path}/faces is not a packed dataset: it does not exist; make one with" in message


def test_a_level_finer_than_the_dataset_is_refused(experiment: Experiment) -> None:
    message = refusal(experiment, "schedule.resolutions=4,8,16", "algorithm.resolution=16")
    assert "schedule.resolutions reaches 16 px, but the dataset" in message
    assert "ends at 8 px; pack it again with --resolution 16, or end the schedule at 8" in message


def test_colour_networks_on_grey_images_are_refused(experiment: Experiment) -> None:
    message = refusal(experiment, "algorithm.channels=3")
    assert message.startswith("algorithm.channels=3, but the images of")
    assert message.endswith("have 1; use algorithm.channels=1")


@pytest.fixture
def unlabelled(experiment: Experiment, tmp_path: Path) -> Experiment:
    """On images without labels."""
    np.savez(tmp_path / "bare.npz", images=np.zeros((8, 8, 8), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None])
    pack(str(tmp_path / "bare.npz"), str(tmp_path / "bare"), resolution=8)
    return override(experiment, [f"data.path={tmp_path}/bare"])


def test_a_classifier_without_labels_is_refused(unlabelled: Experiment) -> None:
    message = refusal(unlabelled, "evaluation.extractor=classifier")
    assert "evaluation.extractor=classifier needs labels" in message
    assert "use evaluation.extractor=pixels, or pack the images with labels" in message
    preflight.check(override(unlabelled, ["evaluation.extractor=classifier", "evaluation.enabled=false"]))


def test_only_a_metric_that_is_measured_asks_for_labels(unlabelled: Experiment) -> None:
    preflight.check(
        override(unlabelled, ["evaluation.extractor=classifier", "evaluation.metrics=fd_pixels5k,l1_1k_recon"])
    )
    message = refusal(unlabelled, "evaluation.extractor=pixels", "evaluation.metrics=fd_pixels5k,fd_classifier5k")
    assert message.startswith("fd_classifier5k needs labels, and ") and "use pixels or lite0 in place of" in message


@pytest.fixture
def translator(tmp_path: Path) -> Experiment:
    """An experiment of two domains that fits both datasets."""
    preset = presets.load("debug_emoji_noto2twemoji64_munit")
    places = [
        f"data.path={pack_two_domains(tmp_path, validation_fraction=0.2)}",
        f"training.storage={tmp_path / 'runs'}",
    ]
    return override(preset, [*places, "scaling.cpus_per_worker=0.5"])


def saved(experiment: Experiment) -> None:
    """Give the run a checkpoint, as far as a claim looks at it."""
    folder = Path(Run.of(experiment).url) / "checkpoint_000000000008"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")


def repacked(translator: Experiment, domain: str, **options: Any) -> None:
    """Pack one of the domains again, in another way."""
    place = Path(translator.data.path) / domain
    shutil.rmtree(place)
    pack(str(place.parents[1] / f"{domain}.npz"), str(place), validation_fraction=0.2, **options)


def test_a_translator_on_two_datasets_gets_as_far_as_ray_and_resumes_on_the_same_two(translator: Experiment) -> None:
    assert [dataset.url[-2:] for dataset in preflight.check(translator)] == ["/a", "/b"]
    with pytest.raises(AssertionError, match="Ray was started"):
        trainer.train(translator)
    saved(translator)
    repacked(translator, "b", seed=7)
    assert "is not the dataset that the run" in refusal(translator)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_a_domain_whose_images_are_too_small_is_named(translator: Experiment, domain: str) -> None:
    repacked(translator, domain, resolution=4)
    assert f"8 px, but the dataset {translator.data.path}/{domain} ends at 4 px" in refusal(translator)


def test_domains_of_other_channels_than_each_other_or_the_networks_are_refused(translator: Experiment) -> None:
    path = translator.data.path
    message = refusal(translator, "algorithm.channels=1")
    assert message == f"algorithm.channels=1, but the images of {path}/a have 3; use algorithm.channels=3"
    repacked(translator, "b", channels=1)
    assert refusal(translator) == (
        f"the images of {path}/a have 3 channels and those of {path}/b have 1; pack both again with the same --channels"
    )


def test_a_translator_on_one_domain_and_another_algorithm_on_two_are_refused(
    translator: Experiment, experiment: Experiment
) -> None:
    assert "is a dataset of one domain, and the algorithm translates between two" in refusal(
        translator, f"data.path={translator.data.path}/a"
    )
    message = refusal(experiment, f"data.path={translator.data.path}")
    assert f"holds two domains, and the algorithm trains on one; name {translator.data.path}/a or" in message


def test_a_microbatch_that_does_not_divide_the_ranks_share_is_refused(experiment: Experiment) -> None:
    message = refusal(experiment, "training.microbatch=3", "scaling.workers=2")
    assert message == "training.microbatch=3 does not divide 8/2 ranks = 4 images per rank; use 1, 2 or 4"


def test_storage_below_a_file_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refusal(experiment, f"training.storage={tmp_path}/file/runs")
    assert message == f"{tmp_path}/file/runs is or lies under a file; name a folder"


def test_storage_that_may_not_be_written_is_refused(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    # As root every folder may be written, so the refusal is the filesystem's.
    def denied(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", denied)
    assert refusal(experiment).endswith("permission denied; this user may not read or write there")


def test_a_resume_with_changed_settings_lists_the_differences(experiment: Experiment) -> None:
    with pytest.raises(AssertionError, match="Ray was started"):
        trainer.train(experiment)
    saved(experiment)
    message = refusal(experiment, "seed=7", "schedule.lr=0.5")
    assert "seed: 0 -> 7" in message and "schedule.lr: " in message and "give another name=" in message


def test_a_start_from_a_checkpoint_that_is_not_there_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    message = refusal(experiment, f"training.init_from={tmp_path}/none")
    assert message.startswith(f"training.init_from: {tmp_path}/none is neither a checkpoint nor a run that has ")


def test_a_run_with_checkpoints_of_its_own_needs_no_other_to_start_from(experiment: Experiment, tmp_path: Path) -> None:
    own = tmp_path / "runs" / experiment.name / "checkpoint_000000000064"
    own.mkdir(parents=True)
    (own / "manifest.json").write_text("{}")
    preflight.check(override(experiment, [f"training.init_from={tmp_path}/none"]))


def on_a_cluster(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    monkeypatch.setattr(trainer, "connect", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)


def test_workers_that_leave_ray_data_no_cpu_are_refused_with_the_share_that_fits(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cluster(monkeypatch, CPU=2.0)
    crowded = override(
        experiment,
        [
            "scaling.workers=2",
            "scaling.cpus_per_worker=1",
            "scaling.cpus_per_data_task=0.5",
            "scaling.cpus_per_evaluation=0.3",
        ],
    )
    message = refusal(crowded)
    assert "scaling.workers=2 x scaling.cpus_per_worker=1 leaves 0 of 2 CPUs" in message
    assert "Ray Data and the evaluation need 0.8; use scaling.cpus_per_worker=0.6 or less" in message
    fitting = override(crowded, ["scaling.cpus_per_worker=0.6"])
    preflight.check_capacity(fitting)
    preflight.check_capacity(replace(crowded, scaling=replace(crowded.scaling, autoscaling=True)))


def test_without_evaluation_its_cpus_are_free_for_the_workers(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cluster(monkeypatch, CPU=2.0)
    preflight.check_capacity(override(experiment, ["evaluation.enabled=false", "scaling.workers=1"]))
    assert "CPUs, and Ray Data needs 0.5; use" in refusal(experiment, "evaluation.enabled=false", "scaling.workers=2")


def test_the_share_that_is_named_is_not_refused_again(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cluster(monkeypatch, CPU=4.0)
    wide = override(experiment, ["schedule.batch_size=6", "scaling.workers=3", "scaling.cpus_per_data_task=1.75"])
    assert "use scaling.cpus_per_worker=0.66 or less, fewer workers, or smaller" in refusal(wide)
    preflight.check_capacity(override(wide, ["scaling.cpus_per_worker=0.66"]))


def test_trials_that_run_at_a_time_are_counted_together(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cluster(monkeypatch, CPU=4.0)
    preflight.check_capacity(experiment, runs=2)
    with pytest.raises(ValueError, match=r"leaves 0.333333 of 1.33333 CPUs for each of 3 runs at a time, and"):
        preflight.check_capacity(experiment, runs=3)


def test_gpus_that_the_cluster_lacks_are_refused(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_cluster(monkeypatch, CPU=16.0)
    message = refusal(experiment, "scaling.workers=2", "scaling.gpus_per_worker=1")
    assert "asks for 2 of 0 GPUs; use scaling.gpus_per_worker=0, or scaling.autoscaling=true" in message


def test_every_problem_of_storage_is_a_value_error() -> None:
    assert issubclass(StorageError, ValueError)


def test_a_machine_too_small_for_any_worker_gets_no_share_of_zero(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_cluster(monkeypatch, CPU=0.5)
    assert refusal(experiment).endswith("; use smaller scaling.cpus_per_data_task and scaling.cpus_per_evaluation")
