"""`alae explain`: every setting has a text, a type and a default, and says whether a resume may change it."""

from dataclasses import dataclass

import pytest

from pipelines import presets
from pipelines.cli import main
from pipelines.cli.explain import explain
from pipelines.cli.fields import docstrings, fields
from pipelines.experiment.override import override, resume_differences
from tests.support.commands import refused

PRESET = presets.load("mnist32_style_alae")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_every_setting_of_every_section_and_algorithm_has_a_docstring() -> None:
    every = fields()
    assert len(every) > 150 and {"schedule.lr", "training.optimizer.beta1"} <= {field.path for field in every}
    assert [f"{field.path} of {field.kind}" for field in every if not field.text] == []


def test_a_docstring_is_read_from_below_its_field_and_from_the_classes_above() -> None:
    @dataclass
    class Base:
        a: int = 1
        """First
        of two lines."""
        b: int = 2

    @dataclass
    class Derived(Base):
        b: int = 3
        """Second."""
        c: int = 4

    assert docstrings(Derived) == {"a": "First of two lines.", "b": "Second."}


def test_a_setting_is_explained_with_its_value_in_a_preset() -> None:
    assert explain("training.tick_kimg", PRESET) == (
        "training.tick_kimg\n\n"
        "  Interval between two reports of the training metrics, in thousands of images.\n\n"
        "  type       a number above 0\n"
        "  default    1.0\n"
        "  on resume  fixed once the run has begun\n"
        "  value      1.0 in mnist32_style_alae\n"
        "  to set it  alae train mnist32_style_alae training.tick_kimg=1.0"
    )


def test_a_setting_of_algorithms_names_those_that_have_it_apart_where_they_mean_different_things() -> None:
    text = explain("algorithm.loss.r1_gamma")
    assert "algorithms  alae, style_alae\n" in text and "algorithms  stylegan\n" in text
    assert "algorithms" not in explain("training.tick_kimg")


def test_a_preset_explains_its_own_algorithm_alone() -> None:
    text = explain("algorithm.norm_after_addition", presets.load("mnist32_soft_intro_vae"))
    assert "\n  default     false\n  algorithms  soft_intro_vae\n" in text
    with pytest.raises(ValueError, match="is not a setting of mnist32_style_alae"):
        explain("algorithm.loss.vgg_w", PRESET)


@pytest.mark.parametrize("path", ["seed", "training.microbatch", "scaling.workers", "data.flip", "data.damaged"])
def test_what_a_resume_may_change_is_what_a_resume_accepts(path: str) -> None:
    other = {
        "seed": "5",
        "training.microbatch": "8",
        "scaling.workers": "1",
        "data.flip": "true",
        "data.damaged": "skip",
    }
    accepted = not resume_differences(PRESET, override(PRESET, [f"{path}={other[path]}"]))
    assert ("on resume  may change\n" in explain(path)) == accepted
    assert ("on resume  fixed once the run has begun\n" in explain(path)) != accepted


def test_a_group_lists_its_settings_with_first_sentences_and_values() -> None:
    text = explain("training", PRESET)
    assert text.startswith("training: How the networks are trained, reported and saved.\n\n  optimizer.* ")
    assert "\n  tick_kimg=1.0 " in text and "Smaller values need less memory" not in text
    assert "A resumed run may change microbatch, checkpoint_ticks," in text
    assert "A resumed run may change all of them." in explain("scaling")
    assert "A resumed run may change none of them." in explain("schedule")


def test_without_a_path_the_groups_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["explain"]) == 0
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and line[2] != " "
    ]
    assert listed == [
        *("name", "seed", "algorithm.*", "schedule.*", "data.*"),
        *("training.*", "evaluation.*", "scaling.*", "tracking.*"),
    ]


def test_the_kind_of_algorithm_is_explained_by_each_algorithms_module() -> None:
    text = explain("algorithm.kind")
    assert "cannot be overridden" in text and "\n  munit " in text and "MUNIT (Huang et al., ECCV 2018)" in text


@pytest.mark.parametrize("path", sorted({field.path for field in fields()}))
def test_every_explanation_fits_80_columns(path: str) -> None:
    lines = explain(path).splitlines()
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(
    ("path", "guess"),
    [
        ("training.tik_kimg", "did you mean training.tick_kimg?"),
        ("tick_kimg", "did you mean training.tick_kimg?"),
        ("workers", "did you mean evaluation.workers or scaling.workers?"),
        ("trainig", "did you mean training?"),
        ("xyzzy", "alae explain lists the groups"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(
    capsys: pytest.CaptureFixture[str], path: str, guess: str
) -> None:
    assert refused(capsys, "explain", path) == f"alae explain: {path} is not a setting; {guess}\n"
