"""A missing requirement of a metric is refused in one sentence with a remedy, before any image is drawn."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alae_core.metrics.protocol_names import parse
from pipelines import presets
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import requirements
from pipelines.experiment import EvaluationConfig, Experiment, metric_choice
from pipelines.experiment.override import override
from pipelines.experiment.paths import with_absolute_paths
from pipelines.training import preflight

NO_INCEPTION = (
    "{} needs weights that are not given; give evaluation.inception_weights=<path or URL of "
    "weights-inception-2015-12-05-6726825d.pth>, or use fd_lite0_5k or fd_classifier5k, which need none"
)


def dataset(labels: int = 10, splits: tuple[str, ...] = ("train",)) -> Dataset:
    made = SimpleNamespace(url="faces", label_count=labels, manifest=SimpleNamespace(splits=dict.fromkeys(splits)))
    return cast(Dataset, made)


def refusal(name: str, data: Dataset | None = None, encodes: bool = True, **config: Any) -> str:
    with pytest.raises(ValueError) as caught:
        requirements.check([name], EvaluationConfig(**config), [data or dataset()], encodes=encodes)
    return str(caught.value)


@pytest.mark.parametrize("name", ["fid50k_full", "fid5k_full", "fid5k_full_clean", "kid50k_full_x1000", "is50k"])
def test_inception_s_metrics_without_its_weights_name_the_setting_and_what_needs_none(name: str) -> None:
    assert refusal(name) == NO_INCEPTION.format(name)


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [
        ("pr50k3", (), "vgg16_weights"),
        ("ppl_wend", (), "vgg16_weights"),
        ("ppl_wend", ("vgg16_weights",), "lpips_heads"),
        ("lpips1k_recon", ("vgg16_weights",), "lpips_heads"),
    ],
)
def test_vgg16_s_metrics_name_the_file_that_is_missing(
    name: str, given: tuple[str, ...], missing: str, tmp_path: Path
) -> None:
    (tmp_path / "w").touch()
    settings = dict.fromkeys(given, str(tmp_path / "w"))
    assert f"{name} needs weights that are not given; give evaluation.{missing}=<path" in refusal(name, **settings)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    message = refusal("fid5k_full", inception_weights=f"{tmp_path}/none")
    assert message.startswith(f"evaluation.inception_weights={tmp_path}/none does not exist; give the path or URL of")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fid1k_to_b", "fid1k_to_b measures translations, and the algorithm has one domain; leave it out"),
        ("cis100x100_to_b", "cis100x100_to_b measures translations, and the algorithm has one domain"),
        ("fd_lite0_5k_clean", "the clean filter applies to inception's features only; leave _clean out"),
        ("ppl_wend_psi0.7", "paths are not truncated; leave psi out"),
        ("ppl_wend_mixed0.9", "ppl has no mixing; leave it out"),
        ("reciprocity5k_psi0.7", "reciprocity has no truncation; leave it out"),
        ("l1_1k_recon_mixed0.9", "l1 of reconstructions has no mixing; leave it out"),
        ("l1_lite0_1k_recon", "l1 of reconstructions has no extractor; leave it out"),
        ("msssim_pixels1k", "msssim has no extractor; leave it out"),
        ("ppl_lite0_wend", "ppl_lite0_wend cannot be taken by lite0; use vgg16"),
        ("is_lite0_5k", "is_lite0_5k cannot be taken by lite0; use inception or classifier"),
        ("fd_resnet5k", "fd_resnet5k cannot be taken by resnet; use inception or vgg16 or lite0"),
        ("l1_1k_recon_test", "needs the split 'test', and faces has train; pack it with images held out"),
    ],
)
def test_what_cannot_be_measured_says_why_and_what_to_do(name: str, sentence: str) -> None:
    assert sentence in refusal(name)


@pytest.mark.parametrize("name", ["reciprocity5k", "l2_1k_recon", "fd_pixels1k_recon"])
def test_reconstructions_need_an_encoder(name: str) -> None:
    assert refusal(name, encodes=False) == f"{name} needs an encoder, and the algorithm has none; leave it out"
    requirements.check([name], EvaluationConfig(), [dataset()], encodes=True)


def test_a_classifier_needs_labels() -> None:
    message = refusal("fd_classifier5k", dataset(labels=0))
    assert "fd_classifier5k needs labels, and faces has none; use pixels or lite0" in message
    requirements.check(["fd_classifier5k"], EvaluationConfig(), [dataset()], encodes=False)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("fd_pixels5k", 0),
        ("is50k", 0),
        ("fd_classifier5k", 1),
        ("pr_classifier5k3", 1),
        ("is_classifier5k", 2),
        ("probe1nn10k_validation", 2),
        ("ls_w", 0),
    ],
)
def test_labels_are_needed_by_probes_and_by_what_a_classifier_takes(name: str, classes: int) -> None:
    assert requirements.classes_needed(parse(name)) == classes


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the package efficientnet_lite_pytorch, which is not installed; run pip install 'alae[metrics]'" in (
        refusal("fd_lite0_5k")
    )


@pytest.fixture
def experiment(tiny_dataset: Path, tmp_path: Path) -> Experiment:
    changes = [f"data.path={tiny_dataset}", f"training.storage={tmp_path / 'runs'}"]
    return override(presets.load("debug_mnist32_style_alae"), changes)


def test_the_driver_refuses_before_resources_are_taken(experiment: Experiment) -> None:
    with pytest.raises(ValueError, match=r"metric 'fid50' is not known: .* nearest first: fid50k"):
        preflight.check(override(experiment, ["evaluation.metrics=fid50"]))
    with pytest.raises(ValueError, match=r"fid5k_full needs weights that are not given"):
        preflight.check(override(experiment, ["evaluation.metrics=fd_pixels0.1k,fid5k_full"]))
    unencoded = override(presets.load("debug_cartoon32_stylegan"), [f"data.path={experiment.data.path}"])
    with pytest.raises(ValueError, match=r"reciprocity5k needs an encoder"):
        requirements.check_experiment(
            override(unencoded, ["evaluation.metrics=reciprocity5k"]), [Dataset.open(experiment.data.path)]
        )
    preflight.check(override(experiment, ["evaluation.metrics=fid5k_full", "evaluation.enabled=false"]))
    preflight.check(override(experiment, ["evaluation.metrics=reciprocity0.1k,fd_pixels0.1k"]))


def test_local_weights_are_found_from_any_folder_and_keep_their_sum(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = override(
        experiment,
        [
            "evaluation.inception_weights=w.pth#sha256=ab",
            "evaluation.vgg16_weights=s3://b/v.pth",
            "evaluation.alexnet_weights=a.pth",
            "evaluation.alexnet_heads=h.pth",
        ],
    )
    found = with_absolute_paths(given).evaluation
    assert (found.alexnet_weights, found.alexnet_heads) == (f"{tmp_path}/a.pth", f"{tmp_path}/h.pth")
    assert found.inception_weights == f"{tmp_path}/w.pth#sha256=ab"
    assert found.vgg16_weights == "s3://b/v.pth" and found.lpips_heads is None


def test_credentials_in_the_url_of_weights_are_refused(experiment: Experiment) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.vgg16_weights carries credentials"):
        override(experiment, ["evaluation.vgg16_weights=https://me:secret@host/v.pth"]).validate()


def test_the_default_metric_is_the_distance_of_the_settings() -> None:
    assert metric_choice.metric_names(EvaluationConfig(samples=500)) == ("fd_classifier0.5k",)
    assert metric_choice.metric_names(EvaluationConfig(metrics=("fid50k",))) == ("fid50k",)
