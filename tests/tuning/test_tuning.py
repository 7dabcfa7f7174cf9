"""Searches: what may be written as a space, how trials are ranked, and what ends them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pipelines import presets
from pipelines.cli import main
from pipelines.experiment.metric_choice import Deciding
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.evaluations import Evaluation
from pipelines.runs.monitor import Raised
from tests.support.measured import save
from tuning import search, space, summary
from tuning.search import SearchConfig
from tuning.summary import TrialResult
from tuning.trial import Reports, alarmed

pytestmark = pytest.mark.slow

BASE = presets.load("debug_mnist32_alae")
FD = Deciding("fd", higher=False)
WEIGHT = "algorithm.loss.latent_reconstruction_weight"


@pytest.mark.parametrize(
    ("written", "form", "low", "high"),
    [("loguniform(0.1, 10)", "LogUniform", 0.1, 10), (" uniform( 0 ,1e1) ", "Uniform", 0, 10)],
)
def test_a_range_is_drawn_from_its_bounds(written: str, form: str, low: float, high: float) -> None:
    ((path, drawn),) = space.parse(BASE, [f"{WEIGHT}={written}"]).items()
    assert path == WEIGHT
    assert type(drawn.sampler).__name__ == f"_{form}"
    assert (drawn.lower, drawn.upper) == (low, high)
    assert all(low <= drawn.sample() <= high for _ in range(20))


def test_a_choice_is_drawn_as_it_is_written() -> None:
    found = space.parse(BASE, ["algorithm.mapping_layers=choice(1, 2, 4)", "training.precision=choice(fp32,bf16)"])
    assert found["algorithm.mapping_layers"].categories == ["1", "2", "4"]
    assert found["training.precision"].categories == ["fp32", "bf16"]


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("seed", "is not understood; write PATH=loguniform(low, high), PATH=uniform(low, high) or PATH=choice("),
        ("seed=3", "is not understood"),
        ("seed=normal(0, 1)", "is not understood"),
        ("algorithm.los=uniform(0, 1)", "algorithm.los is not a field; did you mean algorithm.loss?"),
        (f"{WEIGHT}=uniform(0, much)", f"{WEIGHT}=much must be a number"),
        (f"{WEIGHT}=uniform(1)", "needs two numbers, the lower one first"),
        (f"{WEIGHT}=uniform(2, 1)", "needs two numbers, the lower one first"),
        (f"{WEIGHT}=uniform(1, 2, 3)", "needs two numbers, the lower one first"),
        (f"{WEIGHT}=loguniform(0, 1)", "loguniform needs bounds above 0"),
        (f"{WEIGHT}=uniform(-1, 1)", f"{WEIGHT}=-1.0 must be a number at least 0"),
        ("algorithm.hidden=uniform(8, 16)", "must be a whole number"),
        ("training.precision=choice(fp32, fp8)", "training.precision=fp8 must be one of fp32, bf16"),
        ("training.microbatch=choice(2, 3)", "training.microbatch=3 does not divide"),
        ("tracking.experiment=uniform(a, b)", "needs two numbers"),
    ],
)
def test_a_space_that_no_trial_could_use_is_refused_in_a_sentence(written: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        space.parse(BASE, [written])
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_field_that_is_searched_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="latent_reconstruction_weight is searched twice; keep one"):
        space.parse(BASE, [f"{WEIGHT}=uniform(0, 1)", f"{WEIGHT}=choice(2, 3)"])


def test_a_search_without_evaluation_is_refused_before_ray_starts(tiny_dataset: Path, tmp_path: Path) -> None:
    blind = override(BASE, ["evaluation.enabled=false", f"data.path={tiny_dataset}", f"training.storage={tmp_path}"])
    with pytest.raises(ValueError, match=r"evaluation\.enabled=false gives a search nothing to compare"):
        search.search(blind)
    assert not ray.is_initialized()


def grid(*trials: dict[str, Any]) -> Any:
    """Results as Tune returns them, in the order in which the trials were made."""
    return [
        SimpleNamespace(metrics=trial.get("metrics"), config=trial.get("config", {}), error=trial.get("error"))
        for trial in trials
    ]


def measured(name: str, value: float | None) -> dict[str, Any]:
    found = {"trial_id": name, "nimg": 500, "checkpoint": f"/runs/{name}"} | (
        {} if value is None else {FD.logged: value}
    )
    return {"metrics": found, "config": {WEIGHT: 0.123456}}


def test_trials_are_ranked_best_first_and_those_without_a_value_last() -> None:
    failed = {"metrics": None, "error": RuntimeError("Traceback ...\nRuntimeError: it broke")}
    found = summary.ranked(grid(failed, measured("b", 3.0), measured("c", None), measured("a", 1.0)), FD)
    assert [(trial.name, trial.value) for trial in found] == [("a", 1.0), ("b", 3.0), ("?", None), ("c", None)]
    assert [trial.error for trial in found] == [None, None, "RuntimeError: it broke", None]


def test_the_table_shows_values_settings_failures_and_the_best_checkpoint() -> None:
    best = TrialResult("a", {WEIGHT: 0.123456, "seed": "3"}, 0.5, "fd", 1.0, "/runs/a/checkpoint")
    failed = TrialResult("b", {WEIGHT: 2.0}, 0.0, "fd", None, "", "it broke")
    lines = summary.table([best, failed]).splitlines()
    assert lines[0].split() == ["trial", "kimg", "fd", "settings"]
    assert lines[1].split() == ["a", "0.50", "1.000", f"{WEIGHT}=0.1235", "seed=3"]
    assert lines[2].split() == ["b", "0.00", "-", f"{WEIGHT}=2"]
    assert lines[3:] == ["b failed: it broke", "best checkpoint: /runs/a/checkpoint"]
    assert summary.table([]) == "no trials"


MARGIN, RATIO = "algorithm.loss.margin", "algorithm.loss.margin_ratio"
REAL_WEIGHT = "algorithm.loss.reconstruction_weight"
FOLLOWING = "debug_mnist32_intro_vae"
"""Its margin follows the real KL."""
FIXED = "debug_celebahq256_intro_vae"


@pytest.mark.parametrize(
    ("preset", "spaces", "sentence"),
    [
        (FOLLOWING, [f"{MARGIN}=uniform(90, 200)", f"{REAL_WEIGHT}=uniform(0.1, 1)"], f"search {RATIO} in place of"),
        (FOLLOWING, [f"{MARGIN}=choice(90, 200)", f"{RATIO}=uniform(1.1, 2)"], "search one of the two"),
        (FIXED, [f"{REAL_WEIGHT}=loguniform(0.1, 1)"], f"set {MARGIN}=null"),
        (FIXED, [f"{RATIO}=loguniform(1.1, 2)"], f"set {MARGIN}=null"),
        (FOLLOWING, [f"{RATIO}=uniform(1.02, 2)"], f"{RATIO}=1.02 leaves no room above the real KL; use 1.05 or more"),
    ],
)
def test_a_margin_that_would_not_follow_the_reconstruction_weight_is_not_searched(
    preset: str, spaces: list[str], sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:
        space.parse(presets.load(preset), spaces)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_margin_ratio_and_weight_are_searched_together_and_a_margin_alone() -> None:
    both = [f"{REAL_WEIGHT}=loguniform(0.1, 1)", f"{RATIO}=uniform(1.1, 2)"]
    assert set(space.parse(presets.load(FOLLOWING), both)) == {REAL_WEIGHT, RATIO}
    assert set(space.parse(presets.load(FIXED), [f"{MARGIN}=uniform(90, 200)"])) == {MARGIN}


def test_a_margin_below_the_known_real_kl_is_refused(tmp_path: Path) -> None:
    begun = presets.load(FIXED)
    folder = save(tmp_path, 1000, begun)
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    manifest["ticks"] = [{"nimg": 1000, "metrics": {"encoder/kl_real": 100.0}, "time": 1.0}]
    (folder / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    warm = override(begun, [f"training.init_from={folder}"])
    with pytest.raises(ValueError, match=r"margin=104 is below 1\.05 times the real KL of 100 .* use 105 or more$"):
        space.parse(warm, [f"{MARGIN}=choice(120, 104)"])
    space.parse(warm, [f"{MARGIN}=choice(120, 105)"])
    # At another weight the real KL is not known.
    other = override(warm, [f"{REAL_WEIGHT}=0.5"])
    space.parse(other, [f"{MARGIN}=choice(120, 104)"])


def test_what_is_searched_without_asking_is_the_algorithms_own() -> None:
    assert space.default(presets.load(FOLLOWING)) == ("algorithm.loss.reconstruction_weight=loguniform(0.05, 2.0)",)
    assert space.default(BASE) == ("algorithm.loss.latent_reconstruction_weight=loguniform(0.1, 10)",)
    assert space.default(presets.load(FIXED)) == (f"{MARGIN}=uniform(120, 180)",)
    assert space.default(presets.load("cartoon32_stylegan")) == ("algorithm.loss.r1_gamma=loguniform(0.1, 10)",)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_can_be_searched_without_asking(name: str) -> None:
    experiment = presets.load(name)
    assert space.parse(experiment, space.default(experiment))


def test_an_algorithm_that_declares_no_space_is_refused_with_what_to_give() -> None:
    unknown: Any = replace(BASE, algorithm=SimpleNamespace(kind="other"))
    with pytest.raises(
        ValueError, match=r"^algorithm\.kind=other says nothing of what to search; give it, as in --over "
    ):
        space.default(unknown)


RAISED = Raised("posterior_collapse", 6000, "it collapsed", True)


def test_a_trial_reports_an_alarm_that_ends_it_with_its_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("tuning.trial.tune.report", lambda measured: told.append(dict(measured)))
    reports = Reports("fd")
    reports.alarm(replace(RAISED, stops=False))
    assert told == []
    reports.alarm(RAISED)
    assert math.isnan(told[0]["fd"]) and told[0]["nimg"] == 6000 and alarmed("a", told[0])
    assert told[0]["alarm"] == "posterior_collapse at 6.0 kimg: it collapsed"
    reports.evaluation(Evaluation(8000, {"fd": 3.0, "odd": None}, {}, "/runs/a", 0.0))
    assert not alarmed("a", told[1])
    reports.alarm(RAISED)
    assert (told[2]["fd"], told[2]["nimg"], told[2]["checkpoint"]) == (3.0, 8000, "/runs/a")


def test_trials_that_an_alarm_ended_stand_behind_the_others_and_are_told_with_it() -> None:
    ended = measured("c", 0.5)
    ended["metrics"]["alarm"] = "posterior_collapse at 6.0 kimg: it collapsed"
    unmeasured = measured("d", math.nan)
    found = summary.ranked(grid(unmeasured, ended, measured("b", 3.0)), FD)
    assert [(trial.name, trial.value) for trial in found] == [("b", 3.0), ("c", 0.5), ("d", None)]
    assert "c was ended by posterior_collapse at 6.0 kimg: it collapsed" in summary.table(found).splitlines()


@pytest.mark.parametrize(("option", "stops"), [([], True), (["--no-stop-on-alarm"], False)])
def test_alarms_end_trials_unless_told_not_to(
    option: list[str], stops: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[tuple[str, ...], SearchConfig]] = []

    def searched(experiment: Any, spaces: Any, config: SearchConfig) -> list[TrialResult]:
        asked.append((tuple(spaces), config))
        return []

    monkeypatch.setattr(search, "search", searched)
    assert main.main(["tune", BASE.name, *option]) == 1
    assert [(spaces, config.stop_on_alarm) for spaces, config in asked] == [((), stops)]
