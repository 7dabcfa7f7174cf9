"""A metric needs a file, a row and a recipe, and no other change: a toy metric is evaluated end to end."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from alae_core.metrics.estimate import Estimate, mean_estimate
from alae_core.metrics.protocol_names import parse
from alae_core.metrics.table import METRICS, Metric
from pipelines import presets
from pipelines.evaluation import measures, requirements
from pipelines.evaluation.draws import Drawn
from pipelines.evaluation.evaluate import describe, evaluate_again, table
from pipelines.evaluation.recipes import RECIPES, Recipe
from pipelines.evaluation.validation import evaluate_checkpoint
from pipelines.experiment.metric_choice import Deciding, deciding
from pipelines.experiment.override import override
from pipelines.runs.best import keep_best
from pipelines.runs.compare import compare
from pipelines.runs.evaluations import read_evaluations
from pipelines.runs.results import best, series
from pipelines.training import preflight
from tests.support import tiny

ROOT = Path(__file__).parents[3]
NAME = "brightness0.1k"
ROW = Metric(
    title="mean brightness",
    unit="half the range of a pixel",
    source="none: a toy",
    better="higher",
    usual=("brightness1k",),
    drawn="shades",
    unused={"mixing": "shades are not mixed; leave _mixed out"},
    unfit=lambda side, crop: "" if side > 4 else "shades of 4 px say nothing",
)


def brightness(images: Tensor) -> Tensor:
    """Content of the metric's file: a function of images [n, C, R, R] to values [n]."""
    return images.mean((1, 2, 3)).double()


@dataclass(frozen=True)
class Brightness(measures.Mergeable):
    def start(self) -> measures.Rows:
        return measures.Rows()

    def add(self, part: measures.Rows, numbers: Tensor, drawn: Drawn) -> None:
        part.parts.append((numbers, brightness(drawn.first[: len(numbers)])))

    def finish(self, part: measures.Rows) -> list[Estimate]:
        return [mean_estimate(part.ordered())]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the row and the recipe, without other changes."""
    monkeypatch.setitem(METRICS, "brightness", ROW)
    monkeypatch.setitem(RECIPES, "brightness", Recipe(lambda *_: Brightness()))


def test_a_metric_of_a_file_a_row_and_a_recipe_is_checked_measured_recorded_compared_and_decides(
    toy: None, tiny_dataset: Path, tmp_path: Path
) -> None:
    settings = [f"data.path={tiny_dataset}", f"training.storage={tmp_path}", f"evaluation.metrics={NAME}"]
    experiment = override(presets.load("debug_mnist32_style_alae"), [*settings, "training.keep_checkpoints=1"])
    preflight.check(experiment)
    assert deciding(experiment) == Deciding(NAME, higher=True)

    values = []
    for nimg, shift in ((480, 0.0), (488, 0.5)):
        state = tiny.build(experiment)
        state.nimg = nimg
        shifted(state.ema, shift)
        folder = tiny.checkpointed(tmp_path, state, experiment)
        values.append(evaluate_checkpoint(str(tmp_path), str(folder))[f"eval/{NAME}"])
    assert values[1] > values[0]

    found = series(read_evaluations(str(tmp_path)), NAME)
    assert [reading.estimate.value for reading in found] == values
    assert best(found) is found[1] and found[1].estimate.standard_error is not None
    keep_best(str(tmp_path), experiment)
    assert [each.name for each in (tmp_path / "best").iterdir()] == [folder.name]

    again = evaluate_again(str(folder), [NAME], samples=50)
    assert table(again.measured).splitlines()[0].startswith("brightness0.05k  ")
    assert describe(parse(NAME)) == "100 shades"
    first, second = (f"{tmp_path}/checkpoint_{nimg:012d}" for nimg in (480, 488))
    assert "b is better: differ by" in compare(first, second)


def shifted(networks: Mapping[str, nn.Module], by: float) -> None:
    """Brightens the generated images."""
    with torch.no_grad():
        for name, weight in networks["generator"].named_parameters():
            if "to_rgb" in name and name.endswith("bias"):
                weight += by


def test_its_row_is_what_refuses_it(toy: None) -> None:
    with pytest.raises(ValueError, match="brightness needs nothing of its own, it has neighbours"):
        parse("brightness1k3")
    with pytest.raises(ValueError, match="nearest first: brightness1k, "):
        parse("brightnes1k")
    assert requirements.left_out(parse(NAME), 4) == "shades of 4 px say nothing"
    assert requirements.left_out(parse(NAME), 8) == ""


def test_every_row_has_a_recipe_and_every_recipe_a_row() -> None:
    assert list(RECIPES) == list(METRICS)


SPELLED = {
    "pipelines/experiment/metric_choice.py": {"fd", "kd"},  # the default metrics
    "pipelines/evaluation/score.py": {"l1", "l2"},  # of eval/reconstruction_l1 and _l2, which are not metrics by name
}
TABLES = {"alae_core/metrics/table.py", "pipelines/evaluation/recipes.py"}


def test_no_metric_is_spelled_outside_the_table_and_the_recipes() -> None:
    found: dict[str, set[str]] = {}
    for folder in ("alae_core/metrics", "pipelines", "tuning"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
            if spelled := {word for word in words if isinstance(word, str) and word in METRICS}:
                found[path.relative_to(ROOT).as_posix()] = spelled
    assert TABLES <= found.keys()
    assert {name: words for name, words in found.items() if name not in TABLES} == SPELLED
