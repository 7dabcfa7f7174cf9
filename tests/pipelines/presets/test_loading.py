"""Arguments that commands accept as PRESET: names, Python files, experiment.json, entry points."""

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines import presets, user_code
from pipelines.cli import main
from pipelines.experiment import Experiment
from pipelines.experiment.override import override
from tests.support.commands import refused
from tests.support.outsider import Project


def refusal(text: str) -> str:
    with pytest.raises(ValueError) as caught:
        presets.load(text)
    return str(caught.value)


class TestPythonFiles:
    def test_an_experiment_from_a_file_keeps_its_name_and_takes_overrides(
        self, project: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        project.algorithm("their_plain")
        file = project.preset("their_preset.py", "their_plain")
        assert main.main(["show", "--json", str(file), "algorithm.sharpness=2"]) == 0
        shown = Experiment.from_json(capsys.readouterr().out)
        assert shown.name == "theirs" and type(shown.algorithm).__module__ == "their_plain"
        assert shown.algorithm == replace(presets.load(str(file)).algorithm, sharpness=2.0)  # type: ignore[type-var]

    def test_the_file_and_its_algorithm_may_be_the_same(self, project: Project) -> None:
        preset = PRESET_IN_ITS_ALGORITHM.format(name="all_in_one")
        file = project.algorithm("all_in_one")
        file.write_text(file.read_text() + preset)
        experiment = presets.load(str(file))
        assert Experiment.from_json(experiment.to_json()) == experiment

    def test_in_a_package_the_file_is_imported_as_a_part_of_it(self, project: Project) -> None:
        project.algorithm("their_package.parts.plain")
        file = project.preset("their_package/presets.py", "their_package.parts.plain")
        assert presets.load(str(file)).algorithm.kind == "their_package.parts.plain"
        assert sys.modules["their_package.presets"].__file__ == str(file)

    def test_its_folder_reaches_processes_started_from_here_and_workers_of_running_clusters(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", "/elsewhere")
        assert user_code.worker_environment() == {}
        project.algorithm("their_plain")
        presets.load(str(project.preset("their_preset.py", "their_plain")))
        assert os.environ["PYTHONPATH"] == f"{project.folder}{os.pathsep}/elsewhere"
        assert user_code.worker_environment() == {"PYTHONPATH": f"{project.folder}{os.pathsep}${{PYTHONPATH}}"}

    def test_a_folder_that_is_there_already_is_not_sent_again(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", str(project.folder))
        project.algorithm("their_plain")
        presets.load(str(project.preset("their_preset.py", "their_plain")))
        assert os.environ["PYTHONPATH"] == str(project.folder) and user_code.worker_environment() == {}

    def test_workers_that_run_already_are_said_to_lack_it(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))  # type: ignore[arg-type]
        user_code.share(project.folder)
        user_code.share(project.folder)
        (warned,) = caplog.messages
        assert warned.startswith(f"{project.folder} is not on the path of the Ray workers that run already; load it")

    @pytest.mark.parametrize(
        ("file", "text", "sentence"),
        [
            ("mine.py", "import absent", r"ModuleNotFoundError: No module named 'absent' \(.*mine.py, line 1\)$"),
            ("mine.py", "\nx = 1 / 0", r"^mine cannot be imported: ZeroDivisionError: .* \(.*mine.py, line 2\)$"),
            ("mine.py", "x = 1", r"mine\.py has no function experiment\(\); it must return an Experiment$"),
            ("mine.py", "def experiment(): return 1", r"experiment\(\) of .*mine\.py returned int; it must return"),
            ("my-own.py", "", r"my-own\.py cannot be imported as my-own; use letters, digits and _ in its name$"),
            ("json.py", "", r"json\.py has the name of another module, .*json/__init__\.py; give the file a name of its own$"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_with_a_file_is_one_sentence(
        self, project: Project, file: str, text: str, sentence: str
    ) -> None:
        said = refusal(str(project.write(file, text)))
        assert re.search(sentence, said) and "\n" not in said

    def test_a_file_that_is_not_there_is_named_before_anything_starts(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "/nowhere/mine.py is not there" in refused(capsys, "train", "/nowhere/mine.py")


PRESET_IN_ITS_ALGORITHM = """

def experiment():
    from dataclasses import replace
    from pipelines import presets

    return replace(presets.load("mnist32_alae"), name="{name}", algorithm=Config(latent=9))
"""


class TestJson:
    @pytest.fixture
    def written(self) -> Experiment:
        return override(presets.load("debug_mnist32_alae"), ["name=kept", "seed=7"])

    def test_an_experiment_json_is_the_experiment_by_path_and_by_url(self, written: Experiment, tmp_path: Path) -> None:
        file = tmp_path / "experiment.json"
        file.write_text(written.to_json())
        assert presets.load(str(file)) == presets.load(f"file://{file}") == written

    def test_problems_name_the_file(self, written: Experiment, tmp_path: Path) -> None:
        file = tmp_path / "experiment.json"
        file.write_text(written.to_json().replace('"seed": 7', '"seed": "x"'))
        assert refusal(str(file)) == f'{file}: seed="x" must be a whole number at least 0'
        file.write_bytes(b"\xff")
        assert refusal(str(file)).startswith(f"{file} is not JSON: ")

    def test_one_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        assert f"{tmp_path}/none.json" in refusal(f"{tmp_path}/none.json")


class TestEntryPoints:
    @pytest.fixture
    def installed(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
        project.algorithm("their_package.plain", kind="their_plain")
        project.preset("their_package/presets.py", "their_package.plain")
        points = "[alae.presets]\ntheir_mnist28_x = their_package.presets:experiment\n"
        project.install(
            monkeypatch, "their-package", f"{points}[alae.algorithms]\ntheir_plain = their_package.plain:Config\n"
        )
        return project

    def test_a_preset_of_another_package_is_listed_described_and_loaded_by_name(self, installed: Project) -> None:
        assert "their_mnist28_x" in presets.names()
        said = presets.about("their_mnist28_x")
        assert (said.summary, said.cost, said.status) == ("Theirs, in one line.", "nothing", "")
        assert (said.family, said.resolution) == ("their_package.presets", 28)
        assert "their_package.plain" not in sys.modules
        experiment = presets.load("their_mnist28_x")
        assert experiment.name == "their_mnist28_x" and experiment.algorithm.kind == "their_plain"
        assert Experiment.from_json(experiment.to_json()) == experiment

    def test_it_has_a_debug_form(self, installed: Project) -> None:
        debug = presets.load("debug_their_mnist28_x")
        assert debug == replace(presets.load("their_mnist28_x").tiny(), name="debug_their_mnist28_x")
        assert debug.algorithm.resolution == 8

    def test_a_misspelt_name_is_answered_with_the_nearest_of_theirs_and_ours(self, installed: Project) -> None:
        said = refusal("their_mnist28_y")
        assert said == "their_mnist28_y is not a preset; did you mean their_mnist28_x? alae presets lists them all"
        assert "did you mean mnist32_alae?" in refusal("mnist32_alea")

    def test_a_name_of_ours_means_ours(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        project.install(monkeypatch, "bold", "[alae.presets]\nmnist32_alae = bold:experiment\n")
        assert presets.load("mnist32_alae").algorithm.kind == "alae"
        assert presets.names().count("mnist32_alae") == 1

    def test_a_package_that_fails_is_still_listed_and_says_why_when_loaded(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.write("broken/__init__.py", "1 / 0")
        project.install(monkeypatch, "broken", "[alae.presets]\nbroken32_x = broken.presets:experiment\n")
        assert presets.about("broken32_x").summary == ""
        assert "broken.presets cannot be imported: ZeroDivisionError" in refusal("broken32_x")
