"""The example algorithm of docs/algorithms.md meets the contract and can be evaluated."""

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from alae_core.capabilities import Codes, Encodes, Searched
from alae_core.schedule import Level
from pipelines import presets
from pipelines.data.format.shards import Dataset
from pipelines.evaluation import requirements, runner
from pipelines.evaluation.features import pretrained
from pipelines.evaluation.score import evaluate
from pipelines.evaluation.subject import Subject, offered
from pipelines.experiment import EvaluationConfig, Experiment
from tests.contract import test_algorithms, test_capabilities
from tests.support import offers, tiny
from tests.support.attributes import SIDE
from tests.support.outsider import Project
from tuning import space

PAGE = Path(__file__).parents[2] / "docs/algorithms.md"
CONTRACT = {
    name: check
    for module in (test_algorithms, test_capabilities)
    for name, check in vars(module).items()
    if name.startswith("test_") and next(iter(inspect.signature(check).parameters), "") == "name"
}
"""The contract tests of an algorithm by the name of its experiment."""
NOT_OF_IT = {
    "test_two_ranks_train_what_one_rank_trains_and_without_averaging_something_else",  # runs in another process
    "test_one_style_for_all_layers_is_the_code_and_another_one_for_the_coarsest_shows",
    "test_a_long_code_is_another_one_of_the_same_images",
    "test_what_breaks_a_group_is_refused_on_the_driver_by_its_field_with_values_that_work",
    "test_a_schedule_may_start_where_the_networks_do_and_no_coarser",
    "test_a_warm_up_is_over_within_the_first_iterations_of_a_shrunk_run",
    "test_alarms_and_charts_read_what_the_updates_measure",
    "test_every_preset_says_what_to_search_with_bounds_that_are_valid_in_it",
    "test_the_official_form_is_another_form_of_the_same_networks_and_valid",
}
"""Contract tests that do not apply: capabilities that it does not offer, and tests in other processes."""


@pytest.fixture
def example(project: Project, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Module of the page's example, in a folder on the import path."""
    (code,) = re.findall(r"```python\n(\"\"\"A plain .*?)```", PAGE.read_text(), re.DOTALL)
    project.write("plain.py", code)
    monkeypatch.syspath_prepend(str(project.folder))
    return importlib.import_module("plain")


@pytest.fixture
def experiment(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A shrunk experiment of the example, which the contract tests find as "plain"."""
    small = tiny.brief(replace(presets.load("mnist32_alae"), name="mnist32_plain", algorithm=example.Config()))
    for module in (test_algorithms, offers):
        monkeypatch.setitem(module.EXPERIMENTS, "plain", small)
    return small


@pytest.mark.parametrize("name", sorted(CONTRACT.keys() - NOT_OF_IT))
def test_the_example_meets_the_contract(experiment: Experiment, name: str) -> None:
    check: Callable[..., None] = CONTRACT[name]
    for value in {"precision": ("fp32", "bf16"), "parts": (2, 3)}.get(
        [*inspect.signature(check).parameters][-1], ("",)
    ):
        check("plain", *([value] if value else []))


def test_the_example_offers_what_the_page_says(experiment: Experiment) -> None:
    assert NOT_OF_IT <= CONTRACT.keys()
    algorithm = experiment.algorithm.build()
    assert (
        isinstance(algorithm, Codes) and isinstance(algorithm, Encodes) and isinstance(experiment.algorithm, Searched)
    )
    assert offered(algorithm) == {"codes": True, "encodes": True, "encodes_long": False, "draws_styles": False}
    assert space.default(experiment) == ("algorithm.code_weight=loguniform(0.001, 0.1)",)


def subject(example: ModuleType, algorithm: Any = None) -> Subject:
    torch.manual_seed(0)
    algorithm = algorithm or example.Config(resolution=SIDE, latent=6, hidden=16).build()
    for network in algorithm.networks.values():
        network.eval().requires_grad_(False)
    level = Level(index=0, resolution=SIDE, blend=1.0, batch_size=8, lr=1e-3)
    return Subject(algorithm=algorithm, networks=algorithm.networks, level=level, channels=1, seed=0)


@pytest.mark.slow
def test_its_path_lengths_and_separability_are_those_of_the_images_that_it_generates(
    example: ModuleType, barred: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def squared(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).double().square().flatten(1).sum(1)

    monkeypatch.setattr(pretrained, "perceptual_distance", lambda *_: pretrained.Perceptual(squared, "digest"))
    monkeypatch.setattr("pipelines.evaluation.features.weights.check_exists", lambda *_: None)
    config = EvaluationConfig(vgg16_weights="given", lpips_heads="given")
    own = subject(example)
    names = ("ppl0.1k_wend", "ppl0.1k_zend", "ls0.2k_z", "ls0.2k_w", "reciprocity0.1k", "probe1nn0.1k_validation")
    found = {
        key: value for each in runner.measure(names, own, (barred,), config) for key, value in each.estimates.items()
    }
    assert found.keys() >= set(names) and all(estimate.value > 0 for estimate in found.values())
    # z is the code, so both spaces are the same.
    assert found["ls0.2k_z"].value == found["ls0.2k_w"].value
    batch = own.batch(0, 4)
    z = batch.noise("z", own.latent)
    assert torch.equal(own.decoded(own.mapped(z), batch), own.generate(batch))


@pytest.mark.slow
def test_without_codes_it_is_evaluated_all_the_same_and_metrics_of_codes_are_refused_in_a_sentence(
    example: ModuleType, barred: Dataset
) -> None:
    class Bare(example.Plain):  # type: ignore[name-defined, misc]
        mapped = None

        def generate(self, networks: Any, batch: Any, sampling: Any = None) -> Tensor:
            made: Tensor = networks["generator"](batch.noise("z", self.latent))
            return made

    config = example.Config(resolution=SIDE, latent=6, hidden=16)
    torch.manual_seed(0)
    bare = subject(example, Bare(config.build().networks, config))
    scores = evaluate(bare, (barred,), EvaluationConfig(samples=100, extractor="pixels", reconstructions=20))
    assert {"reals", "samples", "reconstructions"} <= set(scores.figures) and "interpolation" not in scores.figures
    for name in ("ppl_wend", "ls_z", "reciprocity5k"):
        with pytest.raises(
            ValueError,
            match=f"^{name} needs the codes of generated images, and the algorithm has none; leave it out$",
        ):
            requirements.check([name], EvaluationConfig(), (barred,), **offered(bare.algorithm))
    with pytest.raises(ValueError, match="this needs codes that can be decoded"):
        bare.decoded(torch.zeros(1, 6), bare.batch(0, 1))
