"""Algorithms of other packages: a dotted path or an entry point is found, or refused in one sentence."""

import json
import sys
from typing import Any

import pytest

from alae_core.algorithms import CONFIGS
from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from tests.support.outsider import Project


def read(kind: str, **fields: Any) -> Experiment:
    """JSON of a preset of this project with an algorithm of another kind."""
    tree = json.loads(presets.load("mnist32_alae").to_json())
    return Experiment.from_json(json.dumps(tree | {"algorithm": {"kind": kind, **fields}}))


def refusal(kind: str, **fields: Any) -> str:
    with pytest.raises(ValueError) as caught:
        read(kind, **fields)
    return str(caught.value)


@pytest.fixture
def importable(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.syspath_prepend(str(project.folder))
    return project


def test_a_dotted_kind_is_imported_and_validated_as_ours_are(importable: Project) -> None:
    importable.algorithm("their_package.plain")
    experiment = read("their_package.plain", latent=9)
    assert type(experiment.algorithm).__module__ == "their_package.plain"
    assert experiment.algorithm == type(experiment.algorithm)(latent=9)
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert override(experiment, ["algorithm.sharpness=2"]).algorithm.sharpness == 2.0  # type: ignore[attr-defined]
    experiment.validate()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"latent": "x"}, 'algorithm.latent="x" must be a whole number'),
        ({"latnt": 3}, "algorithm.latnt is not a field; did you mean algorithm.latent? Known: latent, "),
    ],
)
def test_its_fields_are_refused_as_ours_are(importable: Project, fields: dict[str, Any], sentence: str) -> None:
    importable.algorithm("their_package.plain")
    assert refusal("their_package.plain", **fields).startswith(sentence)


def test_its_values_are_held_to_the_rules_of_names(importable: Project) -> None:
    importable.algorithm("their_package.plain")
    with pytest.raises(ValueError, match=r"^algorithm\.latent=0 must be a whole number at least 1$"):
        read("their_package.plain", latent=0).validate()


def test_a_module_beside_the_command_is_found_and_shared(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.algorithm("their_plain")
    monkeypatch.chdir(project.folder)
    assert read("their_plain").algorithm.kind == "their_plain"
    assert str(project.folder) in sys.path


def test_an_entry_point_gives_its_kind(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.algorithm("their_package.plain", kind="short")
    project.install(monkeypatch, "their-package", "[alae.algorithms]\nshort = their_package.plain:Config\n")
    assert type(read("short").algorithm).__module__ == "their_package.plain"


def test_a_module_that_is_not_there_says_so_and_lists_the_known_kinds() -> None:
    said = refusal("nobodys_package.plain")
    assert said.startswith(
        "algorithm.kind=nobodys_package.plain: no module of that name can be imported here; install its package, or add "
        "the folder that holds nobodys_package to PYTHONPATH; Known: "
    )
    assert all(kind in said for kind in CONFIGS)


def test_an_unknown_kind_lists_ours_and_entry_points_nearest_first(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.install(monkeypatch, "their-package", "[alae.algorithms]\nstyle_alae_plus = their_package:Config\n")
    said = refusal("style_alae_plos")
    assert said.startswith('algorithm.kind="style_alae_plos" is not known; did you mean style_alae_plus? Known: style_')
    assert all(kind in said for kind in CONFIGS)


def test_what_has_no_config_is_not_imported(importable: Project) -> None:
    importable.write("launcher/__init__.py", "")
    importable.write("launcher/missiles.py", "raise SystemExit('fired')")
    assert refusal("launcher.missiles").startswith("algorithm.kind=launcher.missiles: ")
    assert refusal("launcher.missiles").endswith("missiles.py has no class Config; see docs/your_own.md")
    importable.write("fire.py", "raise SystemExit('fired')")
    assert refusal("fire").startswith('algorithm.kind="fire" is not known; ')


BARE = "class Config:\n    kind = 'theirs.bad'\n"
DATACLASS = "from dataclasses import dataclass\n@dataclass(frozen=True)\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BARE, "theirs.bad.Config is not a dataclass; write @dataclass(frozen=True, kw_only=True) above it"),
        ("Config = 3", "theirs.bad.Config is not a dataclass; write "),
        (DATACLASS + BARE, "theirs.bad.Config has no field kind; it needs kind, resolution, channels"),
        (
            DATACLASS + "class Config:\n    kind: str\n    resolution: int\n    channels: int",
            "theirs.bad.Config has no method build, which makes the algorithm; add it",
        ),
        (
            DATACLASS
            + "class Config:\n    resolution: int\n    channels: int\n    kind: str = 'bad'\n    build = print",
            'the kind of theirs.bad.Config is \'bad\'; write kind: Literal["theirs.bad"] = "theirs.bad" in it',
        ),
        ("1 / 0\nclass Config: pass", "theirs.bad cannot be imported: ZeroDivisionError: division by zero ("),
        ("class Config(", "line 1, is not Python: "),
        (
            "from torch import Tensor\n" + DATACLASS + "class Config:\n    kind: str = 'theirs.bad'\n"
            "    resolution: int = 8\n    channels: int = 1\n    weights: Tensor = None\n    build = print",
            "a field of theirs.bad.Config cannot be kept as JSON: Unable to generate pydantic-core schema for <class",
        ),
    ],
)
def test_a_module_that_is_no_algorithm_says_what_it_lacks(importable: Project, text: str, sentence: str) -> None:
    importable.write("theirs/__init__.py", "")
    importable.write("theirs/bad.py", text)
    said = refusal("theirs.bad")
    assert said.startswith("algorithm.kind=theirs.bad: ") and sentence in said and "\n" not in said


def test_two_packages_that_give_one_kind_are_both_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        project.install(monkeypatch, name, f"[alae.algorithms]\nshort = {name}:Config\n")
    said = refusal("short")
    assert "named by several packages" in said and "first:Config of first" in said and "second:Config" in said


def test_an_entry_point_that_leads_nowhere_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("hollow.py", "")
    project.install(monkeypatch, "hollow", "[alae.algorithms]\nshort = hollow:Config\n")
    assert refusal("short").startswith("algorithm.kind=short: the entry point hollow:Config: ")


def test_ours_are_what_they_were() -> None:
    for kind, config in CONFIGS.items():
        assert isinstance(read(kind).algorithm, config)
