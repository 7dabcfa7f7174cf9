"""Every preset of this project is found by name, valid, unchanged by JSON, documented, and small in its debug form."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pytest

from alae_core.algorithms import CONFIGS
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import differences, override
from pipelines.presets.lookup import catalogue

pytestmark = pytest.mark.slow

SMALLEST = {"nice_gan": 64}
"""Algorithms whose networks do not accept images of 8 px, with their smallest resolution in pixels."""
NAMES = sorted(catalogue.ours())
EVERY = pytest.mark.parametrize("name", NAMES)


def test_the_presets_of_the_first_release_are_there() -> None:
    assert {"mnist32_style_alae", "mnist32_alae"} <= set(NAMES)


def test_every_algorithm_has_a_preset() -> None:
    assert {presets.load(name).algorithm.kind for name in NAMES} == CONFIGS.keys()


def test_every_preset_of_a_translator_is_that_of_its_data_and_method() -> None:
    expected = {f"{data}_munit" for data in ("edges2shoes256", "edges2handbags256", "summer2winter256")}
    expected |= {f"{data}256_nice_gan" for data in ("summer2winter", "cat2dog", "horse2zebra", "vangogh2photo")}
    expected |= {f"emoji_noto2twemoji64_{method}" for method in ("munit", "nice_gan")}
    assert {name for name in NAMES if presets.load(name).domains == 2} == expected


def test_the_rates_of_the_translators_fall_as_the_official_ones_do() -> None:
    """Settings of the official configuration, with one image of each domain per iteration."""
    halved, fallen = (presets.load(name).schedule for name in ("edges2shoes256_munit", "horse2zebra256_nice_gan"))
    assert [halved.level_at(nimg).lr for nimg in (99_999, 100_000, 999_999)] == [1e-4, 5e-5, 1e-4 / 2**9]
    assert [fallen.level_at(nimg).lr for nimg in (0, 150_000, 225_000)] == [1e-4, 1e-4, 5e-5]


@EVERY
def test_the_debug_form_of_a_preset_is_the_preset_shrunk_and_named_so(name: str) -> None:
    debug = presets.load(f"debug_{name}")
    assert debug == replace(presets.load(name).tiny(), name=f"debug_{name}")
    debug.validate()


@pytest.mark.parametrize("name", [name for name in NAMES if presets.load(name).algorithm.kind == "style_alae"])
def test_the_compat_form_of_a_style_alae_preset_trains_the_same_networks_by_the_official_habits(name: str) -> None:
    whole, official = presets.load(name), presets.load(f"{name}_compat")
    official.validate()
    assert official.name == f"{name}_compat"
    assert (official.data, official.scaling) == (whole.data, whole.scaling)
    assert official.schedule.total_nimg == whole.schedule.total_nimg
    changed = {path.rsplit(".", 1)[0] for path in differences(whole, official)} - {"name"}
    assert {"algorithm.official", "algorithm.loss", "training", "evaluation"} <= changed
    assert official.training.averages_from == "other weights"
    assert (official.evaluation.mixing_probability, official.evaluation.rounding) == (0.9, "official")
    debug = presets.load(f"debug_{name}_compat")
    assert debug == replace(official.tiny(), name=f"debug_{name}_compat")
    debug.validate()


def test_other_algorithms_have_no_compat_form() -> None:
    with pytest.raises(
        ValueError, match=r"^mnist32_alae has no _compat form: it trains alae, and only style_alae has one; leave"
    ):
        presets.load("mnist32_alae_compat")


@pytest.mark.parametrize(
    ("name", "epochs", "images"),
    [
        ("ffhq1024_style_alae", 300, 60_000),
        ("celebahq256_style_alae", 280, 29_000),
        ("bedroom256_style_alae", 112, 758_260),
        ("celeba128_style_alae", 80, 182_637),
        ("mnist32_style_alae_paper", 60, 60_000),
        ("celebahq256_style_soft_intro_vae", 300, 29_000),
        ("ffhq256_style_soft_intro_vae", 300, 60_000),
    ],
)
def test_the_official_lengths_are_epochs_of_the_dataset_rounded_up_to_batches(
    name: str, epochs: int, images: int
) -> None:
    schedule = presets.load(name).schedule
    levels = len(schedule.resolutions)
    assert 0 <= schedule.total_nimg - epochs * images < sum(s.batch_size for s in schedule.segments)
    # The fade is half of each level after the first, in whole epochs.
    first, fade = round(1000 * schedule.stable_kimg[0]), round(1000 * schedule.fade_kimg[0])
    assert first == 2 * fade and fade % images == 0
    assert schedule.stable_kimg[1:-1] == (fade / 1000,) * (levels - 2)


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_the_official_batches_are_the_same_on_fewer_gpus_and_taken_in_the_same_parts(gpus: int) -> None:
    for name in ("ffhq1024_style_alae", "celebahq256_style_alae", "bedroom256_style_alae", "celeba128_style_alae"):
        experiment = override(presets.load(name), [f"scaling.workers={gpus}"])
        experiment.validate()
        segments = experiment.schedule.segments
        assert [s.batch_size for s in segments] == [512, 256, 128, 64, *[32] * (len(segments) - 4)]
        assert experiment.training.microbatch == tuple(batch // 8 for batch in (512, 256, 128, 64, 32))


def test_the_batch_advised_for_small_gpus_at_1024_is_valid_as_the_preset_writes_it() -> None:
    said = " ".join(presets.about("ffhq1024_style_alae").command.split())
    changes = ["schedule.batch_size=512,256,128,64,32,32,32,32,24", "training.microbatch=64,32,16,8,4,4,4,4,3"]
    assert " ".join(changes) in said
    override(presets.load("ffhq1024_style_alae"), changes).validate()


@pytest.mark.parametrize("name", [name for name in NAMES if "intro_vae" in name or name.endswith("_vae")])
def test_the_family_of_intro_vae_has_adams_own_moments_and_its_style_form_those_of_style_gan(name: str) -> None:
    experiment = presets.load(name)
    adam = experiment.training.optimizer
    expected = (0.0, 0.99) if experiment.algorithm.kind.startswith("style") else (0.9, 0.999)
    assert (adam.beta1, adam.beta2) == expected


@pytest.mark.parametrize("data", ["mnist32", "cartoon32"])
def test_the_plain_vae_differs_from_intro_vae_in_its_fakes_alone(data: str) -> None:
    game, plain = presets.load(f"{data}_intro_vae"), presets.load(f"{data}_vae")
    fakes = {"algorithm.loss.negative_weight", "algorithm.loss.generator_weight"}
    assert set(differences(game, plain)) - {"name"} == fakes


@pytest.mark.parametrize(("name", "guess"), [("mnist32_stylealae", "did you mean mnist32_style_alae? "), ("x", "")])
def test_an_unknown_preset_is_answered_with_the_nearest_and_where_all_are_listed(name: str, guess: str) -> None:
    with pytest.raises(ValueError) as caught:
        presets.load(name)
    assert str(caught.value) == f"{name} is not a preset; {guess}alae presets lists them all"


@EVERY
def test_a_preset_is_named_as_its_function_and_is_valid(name: str) -> None:
    family = import_module(f"pipelines.presets.{presets.about(name).family}")
    experiment = getattr(family, name)()
    assert experiment == presets.load(name) and experiment.name == name
    experiment.validate()


@EVERY
def test_a_preset_survives_json_unchanged(name: str) -> None:
    experiment = presets.load(name)
    assert Experiment.from_json(experiment.to_json()) == experiment


@EVERY
def test_a_preset_says_its_command_result_cost_and_status(name: str) -> None:
    said = presets.about(name)
    assert said.name == name and said.summary.endswith((".", ":"))
    assert said.command.splitlines()[0] == f"alae train {name}"
    assert said.expected and said.cost and said.status
    assert said.resolution == presets.load(name).algorithm.resolution


def test_a_preset_is_in_the_module_of_its_algorithm() -> None:
    for name in NAMES:
        assert presets.about(name).family == presets.load(name).algorithm.kind


def test_sections_of_several_lines_keep_the_lines_of_the_command_and_join_those_of_prose() -> None:
    said = presets.about("celebahq256_intro_vae")
    assert said.command.splitlines()[1].startswith("after: alae pack FOLDER data/celebahq256 --resolution 256")
    assert said.command.splitlines()[-1] == "algorithm.loss.reconstruction_weight=1 algorithm.loss.warmup_kimg=290"
    assert presets.about("edges2shoes256_munit").cost.endswith("reported 0.43 s an iteration on a Titan Xp")


def test_names_and_descriptions_of_presets_import_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from pipelines import presets; assert [presets.about(name) for name in presets.names()]\n"
        "print(*{'torch', 'ray', 'numpy', 'pydantic', 'mlflow'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@EVERY
def test_a_preset_flattens_to_scalars(name: str) -> None:
    flat = presets.load(name).flatten()
    assert all(value is None or isinstance(value, (str, int, float, bool)) for value in flat.values())


@EVERY
def test_a_preset_shrinks_to_something_valid_and_small(name: str) -> None:
    tiny = presets.load(name).tiny()
    tiny.validate()
    assert tiny.name == f"{name}_tiny"
    assert tiny.algorithm.kind == presets.load(name).algorithm.kind
    assert tiny.algorithm.resolution == tiny.schedule.resolutions[-1] == SMALLEST.get(tiny.algorithm.kind, 8)
    assert tiny.schedule.total_nimg <= 500
    assert tiny.scaling.workers == 1 and tiny.scaling.gpus_per_worker == 0
    assert all(value <= 16 for key, value in _sizes(tiny).items()), _sizes(tiny)


@EVERY
def test_shrinking_twice_changes_nothing_more(name: str) -> None:
    tiny = presets.load(name).tiny()
    assert tiny.tiny() == tiny


def test_a_growing_preset_still_grows_when_shrunk() -> None:
    tiny = presets.load("mnist32_style_alae").tiny()
    assert tiny.schedule.resolutions == (4, 8)
    assert tiny.schedule.level_at(tiny.schedule.segments[1].start).blend < 1


def test_a_preset_of_one_level_keeps_one_level_when_shrunk() -> None:
    assert presets.load("mnist32_alae").tiny().schedule.resolutions == (8,)


def test_shrinking_drops_what_needs_a_cluster_or_an_accelerator() -> None:
    large = override(
        presets.load("mnist32_style_alae"),
        [
            "training.microbatch=32",
            "training.precision=bf16",
            "training.init_from=s3://b/run",
            "scaling.workers=8",
        ],
    )
    tiny = replace(large, scaling=replace(large.scaling, gpus_per_worker=1.0)).tiny()
    assert (tiny.training.microbatch, tiny.training.precision, tiny.training.init_from) == (
        None,
        "fp32",
        None,
    )
    assert (tiny.scaling.workers, tiny.scaling.gpus_per_worker) == (1, 0.0)


def test_a_tiny_algorithm_builds_its_networks_of_few_weights() -> None:
    for name in NAMES:
        networks = presets.load(name).tiny().algorithm.build().networks
        assert 0 < sum(weight.numel() for network in networks.values() for weight in network.parameters()) < 120_000


def _sizes(experiment: Experiment) -> dict[str, int]:
    flat = experiment.flatten()
    return {
        key: value for key, value in flat.items() if re.match(r"algorithm\.(?!resolution)", key) and type(value) is int
    }
