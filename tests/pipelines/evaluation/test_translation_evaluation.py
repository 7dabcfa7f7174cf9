"""Evaluation of translators from checkpoints to records: default metrics, requirements, pages, and comparisons."""

import pickle
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from alae_core.metrics.protocol_names import parse
from pipelines import presets
from pipelines.apply.directions import find_and_keep
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import requirements, runner
from pipelines.evaluation.evaluate import BASELINES, describe, evaluate_again, table
from pipelines.evaluation.loading import load_subject
from pipelines.evaluation.plan import Planner
from pipelines.evaluation.runner import Shard, finish
from pipelines.evaluation.score import evaluate
from pipelines.evaluation.shares import gather_share, measure_checkpoint
from pipelines.evaluation.validation import evaluate_checkpoint
from pipelines.experiment import EvaluationConfig, Experiment, metric_choice
from pipelines.experiment.override import override
from pipelines.runs import layout
from pipelines.runs.compare import compare
from pipelines.runs.evaluations import dataset_record, read_evaluations
from tests.support import tiny, translators
from tests.support.measured import evaluate as record_evaluation
from tests.support.measured import save
from tests.support.translators import ECHO, NICE_GAN, SIDE, of_algorithm, packed_pair, reals

DEFAULT = ("kd_pixels5k_pairs_validation_to_a", "kd_pixels5k_pairs_validation_to_b")
CONFIG = EvaluationConfig(extractor="pixels", grid_columns=3)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, ...]:
    return packed_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def experiment(pair: tuple[Dataset, ...]) -> Experiment:
    small = tiny.brief(presets.load("emoji_noto2twemoji64_munit"))
    settings = [f"data.path={Path(pair[0].url).parent}", f"schedule.resolutions={SIDE}"]
    return override(replace(small, algorithm=translators.MUNIT), settings)


@pytest.fixture(scope="module")
def url(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a checkpoint of a run."""
    state = tiny.build(experiment)
    state.nimg = 24
    return str(tiny.checkpointed(tmp_path_factory.mktemp("run"), state, experiment))


@pytest.mark.slow
def test_without_names_the_kernel_distances_of_both_ways_are_taken_of_the_held_out_images(
    pair: tuple[Dataset, ...],
) -> None:
    scores = evaluate(translators.subject(), pair, CONFIG)
    assert metric_choice.default_names(CONFIG, 2) == DEFAULT
    assert [found.protocol.name for found in scores.measured] == list(DEFAULT)
    for name in DEFAULT:
        assert {f"eval/{name}{ending}" for ending in ("", "_se", "_identity", "_floor")} <= set(scores.metrics)
    assert all(found.estimates[found.protocol.name].count == 12 for found in scores.measured)


def test_each_domain_has_its_reconstruction_errors(pair: tuple[Dataset, ...], tmp_path: Path) -> None:
    config = replace(CONFIG, metrics=("kd_pixels1k_pairs_to_a",))
    metrics = evaluate_errors(pair, config)
    for name, share, real in (("a", 0.5, reals(pair[0])), ("b", 0.75, reals(pair[1]))):
        assert metrics[f"eval/reconstruction_l1_{name}"] == pytest.approx(share * float(real.abs().mean()), rel=1e-5)
    without = packed_pair(tmp_path / "train", fraction=0.0)
    assert {"eval/reconstruction_l1_train_a", "eval/reconstruction_l2_train_b"} <= set(evaluate_errors(without, config))


def evaluate_errors(pair: tuple[Dataset, ...], config: EvaluationConfig) -> dict[str, float]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.evaluation.pages.translations.pages", lambda *_: {})
        return evaluate(of_algorithm(ECHO), pair, config).metrics


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["munit", "nice_gan"])
def test_pages_are_those_of_translators(pair: tuple[Dataset, ...], tmp_path: Path, kind: str) -> None:
    datasets = pair if kind == "munit" else packed_pair(tmp_path / "larger", 20, 20, side=64)
    subject = translators.subject() if kind == "munit" else translators.subject(replace(NICE_GAN, resolution=64))
    pages = evaluate(subject, datasets, CONFIG).figures
    own = "guided_to_b" if kind == "munit" else "attention_b"
    assert {"reals_a", "reals_b", "translations_to_a", "translations_to_b", "reconstructions_a", own} <= set(pages)
    assert "samples" not in pages


@pytest.mark.slow
def test_shares_rebuilt_from_the_url_give_what_one_process_measures(
    url: str, experiment: Experiment, pair: tuple[Dataset, ...]
) -> None:
    names = ("kd_pixels1k_pairs_validation_to_a", "l1_1k_validation_to_b_paired", "fd_pixels0.03k_to_b")
    _, subject, _ = load_subject(url)
    alone = measure_checkpoint(url, experiment, subject, pair, names)
    shares = [pickle.loads(pickle.dumps(gather_share(url, experiment.to_json(), names, Shard(k, 2)))) for k in range(2)]
    assert [len(share.replaced) for share in shares] == [2, 2]
    tasks = Planner(subject, pair, experiment.evaluation).plan(names)
    found = finish(tasks, [share.parts for share in shares[::-1]])
    for one, other in zip(found, alone, strict=True):
        assert one.estimates.keys() == other.estimates.keys()
        for key, estimate in one.estimates.items():
            assert estimate.value == pytest.approx(other.estimates[key].value, rel=1e-9)


@pytest.mark.slow
def test_a_checkpoint_is_measured_again_and_its_record_names_both_domains(url: str, pair: tuple[Dataset, ...]) -> None:
    found = evaluate_again(url, ["kd_pixels1k_pairs_validation_to_b"], samples=10)
    (evaluation,) = (each for each in read_evaluations(str(Path(url).parent)) if not each.own)
    name = "kd_pixels0.01k_pairs_validation_to_b"
    assert found.measured[0].protocol.name == name
    assert {f"eval/{name}", f"eval/{name}_identity"} <= set(evaluation.metrics)
    folder = Path(pair[0].url).parent
    assert evaluation.dataset is not None
    assert (evaluation.dataset["name"], evaluation.dataset["url"]) == (folder.name, str(folder))
    assert evaluation.dataset == dataset_record(pair) != dataset_record(pair[::-1])


@pytest.mark.slow
def test_the_table_says_what_each_baseline_is_of(url: str, pair: tuple[Dataset, ...]) -> None:
    names = [
        f"{metric}_validation_to_b{ending}"
        for metric, ending in (("kd_pixels1k_pairs", ""), ("l1_1k", "_paired"), ("diversity_lite0_2x1", ""))
    ]
    lines = table(runner.measure(names, load_subject(url)[1], pair, CONFIG)).splitlines()
    told = {line.split()[0]: line for line in lines if line.strip() and not line.startswith(" ")}
    keys = [key for name in names for key in parse(name).keys]
    assert list(told) == keys
    for name in names:
        assert told[name].endswith(describe(parse(name)))
        for key in parse(name).baselines:
            assert told[key].endswith(f"baseline: the same for {BASELINES[key.rpartition('_')[2]]}")


@pytest.mark.slow
def test_the_run_s_own_evaluation_keeps_metrics_and_figures(url: str) -> None:
    run = str(Path(url).parent)
    metrics = evaluate_checkpoint(run, url)
    assert {"eval/kd_pixels0.032k_pairs_validation_to_b", "eval/reconstruction_l1_a"} <= set(metrics)
    evaluation = next(each for each in read_evaluations(run) if each.own)
    assert all(Path(run, figure).exists() for figure in evaluation.figures.values()) and evaluation.figures


@pytest.mark.slow
def test_translators_have_no_directions_of_editing(url: str) -> None:
    with pytest.raises(ValueError, match="translates between two domains and has no codes to edit"):
        find_and_keep(url)


def made(name: str, splits: tuple[str, ...] = ("train", "validation"), **changes: Any) -> Dataset:
    split = SimpleNamespace(rows=50, ids=lambda rows: [f"{name}{row}" for row in rows])
    there = {"url": name, "label_count": 0, "split": lambda _: split}
    return cast(Dataset, SimpleNamespace(**there | changes, manifest=SimpleNamespace(splits=dict.fromkeys(splits))))


def refusal(name: str, *datasets: Dataset, styles: bool = True, **config: Any) -> str:
    both = datasets or (made("a"), made("b"))
    with pytest.raises(ValueError) as caught:
        requirements.check([name], replace(CONFIG, **config), both, encodes=True, draws_styles=styles)
    return str(caught.value)


@pytest.mark.parametrize("name", ["fd_pixels5k", "ppl_wend", "ls_w", "msssim1k", "l1_1k_recon", "fd_pixels5k_mixed0.9"])
def test_metrics_of_one_domain_are_refused_and_those_of_two_named(name: str) -> None:
    rule = f"{name} is for algorithms of one domain; name the target domain of the translations, as in "
    assert refusal(name) == rule + " and ".join(DEFAULT)


@pytest.mark.parametrize("name", ["diversity_lite0_100x19_validation_to_b", "cis_classifier10x10_to_a"])
def test_what_compares_translations_of_one_image_needs_an_algorithm_that_draws_styles(name: str) -> None:
    labelled = (made("a", label_count=2), made("b", label_count=2))
    assert refusal(name, *labelled, styles=False) == (
        f"{name} needs several translations of one image, and the algorithm makes only one; leave it out"
    )
    requirements.check([name], CONFIG, labelled, encodes=False, draws_styles=True)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("kd_pixels1k_x50_validation_to_b", "draws subsets of 50 from 50 images; use smaller ones, or "
         "kd_pixels1k_pairs_validation_to_b, one estimate from all pairs"),
        ("kd_pixels0.02k_x20_validation_to_b", "draws subsets of 20 from 20 images"),
        ("l1_1k_validation_to_b_paired", "needs images of one id in both domains, and the validation splits of a and b share "
         "none; leave it out, or pack both from files of the same names"),
        ("fd_pixels1k_test_to_b", "needs the split 'test', and a has train and validation; pack it with images held out, or "
         "take fd_pixels1k_to_b"),
        ("diversity100x19_validation_to_b", "give evaluation.alexnet_weights=<path or URL of alexnet-owt-7be5be79.pth>, or "
         "use lite0's features instead"),
        ("lpips1k_validation_to_b_paired", "give evaluation.vgg16_weights=<path"),
        ("pd_vgg1k_validation_to_b_paired", "cannot be taken by vgg; use lite0"),
        ("diversity_pixels9x9_to_b", "cannot be taken by pixels; use lite0 or vgg16 or alexnet"),
        ("is_classifier1k_to_b", "needs labels, and b has none; pack the images with labels (a folder per class)"),
        ("fid1k_to_b_psi0.7", "fid of translations has no truncation; leave it out"),
    ],
)  # fmt: skip
def test_what_translations_lack_is_one_sentence_with_the_way_out(name: str, sentence: str) -> None:
    message = refusal(name)
    assert sentence in message and "\n" not in message
    assert message.startswith(name)


def test_one_class_is_no_classifier() -> None:
    one = (made("a", label_count=5), made("b", label_count=1))
    assert "is_classifier1k_to_b needs labels of 2 classes or more, and b has 1" in refusal(
        "is_classifier1k_to_b", *one
    )


def test_the_default_needs_held_out_images_and_says_what_else_to_take(experiment: Experiment) -> None:
    bare = (made("a", ("train",)), made("b", ("train",)))
    with pytest.raises(
        ValueError, match=r"needs the split 'validation', and a has train; .* take kd_pixels0.032k_pairs_to"
    ):
        requirements.check_experiment(experiment, bare)
    requirements.check_experiment(experiment, (made("a"), made("b")))


def test_a_run_is_judged_by_its_translations_not_by_a_baseline_or_their_diversity(experiment: Experiment) -> None:
    assert metric_choice.best_metric(experiment) == "kd_pixels0.032k_pairs_validation_to_a"
    diverse = override(experiment, ["evaluation.metrics=diversity_lite0_9x9_to_b"])
    assert metric_choice.best_metric(diverse) is None
    baseline = "tracking.best_metric=kd_pixels0.032k_pairs_validation_to_a_identity"
    with pytest.raises(ValueError, match=r"is not a metric of evaluation\.metrics"):
        metric_choice.best_metric(override(experiment, [baseline]))


def test_compared_runs_show_a_baseline_without_a_verdict(experiment: Experiment, tmp_path: Path) -> None:
    for run, value in (("x", 3.0), ("y", 9.0)):
        save(tmp_path / run, 24, experiment)
        record_evaluation(tmp_path / run, 24, kd_pixels1k_pairs_to_b=value)
        path = tmp_path / run / "evaluations/000000000024.json"
        own = r'("kd_pixels1k_pairs_to_b)(": {\s*"value")'
        path.write_text(re.sub(own, r"\1_identity\2", path.read_text()))
    assert compare(f"{tmp_path}/x/{layout.checkpoint_name(24)}", f"{tmp_path}/y/{layout.checkpoint_name(24)}").endswith(
        "a baseline, of real images alone"
    )


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("kd_lite0_5k_pairs_validation_to_b", "5,000 translations of the validation split to b, features of lite0, against as "
         "many of the validation split"),
        ("diversity_lite0_100x19_to_b", "100 translations of the train split to b, 19 pairs each, features of lite0"),
        ("l1_1k_validation_to_a_paired", "1,000 translations of the validation split to a, against their counterparts"),
    ],
)  # fmt: skip
def test_a_metric_of_translations_is_described(name: str, sentence: str) -> None:
    assert describe(parse(name)) == sentence
