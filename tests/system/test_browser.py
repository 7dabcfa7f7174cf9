"""MLflow's pages of a real run and a real search, as a reviewer sees them in Chromium."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from selenium.webdriver import Chrome

from pipelines import presets
from pipelines.experiment.override import override
from pipelines.tracking import mlflow_run
from pipelines.training.trainer import train
from tests.support.browser import Browser, Picture, chromium, mlflow_ui
from tests.support.runs import prompt_ray
from tests.tuning.test_tuning import WEIGHT
from tuning.search import SearchConfig, search
from tuning.summary import TrialResult

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.browser]

BRIEF = (
    "scaling.workers=1",
    "scaling.cpus_per_worker=0.25",
    "scaling.cpus_per_data_task=0.25",
    "scaling.cpus_per_evaluation=0.25",
    "schedule.stable_kimg=0.064",
    "schedule.fade_kimg=0",
    "training.tick_kimg=0.032",
    "training.checkpoint_ticks=2",
    "evaluation.extractor=pixels",
    "evaluation.samples=32",
    "evaluation.reconstructions=16",
)
RUN = "faces"
MODEL_TRAINING = "?workflowType=machine_learning"


@dataclass(frozen=True)
class Site:
    """A run named `RUN`, a search of two trials from the preset `debug_mnist32_alae`, and the MLflow that shows them."""

    address: str
    client: MlflowClient
    experiment_id: str
    trials: list[TrialResult]

    def run(self, name: str) -> Run:
        (found,) = self.client.search_runs([self.experiment_id], f"attributes.run_name = '{name}'")
        return found

    def page(self, rest: str) -> str:
        """The address of a page of the experiment."""
        return f"{self.address}/#/experiments/{self.experiment_id}/{rest}{MODEL_TRAINING}"


@pytest.fixture(scope="module")
def site(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    trials = trained(folder, uri, tiny_dataset)
    client = mlflow_run.connect(uri)
    experiment = client.get_experiment_by_name("alae")
    assert experiment is not None
    with mlflow_ui(uri, folder) as address:
        yield Site(address, client, experiment.experiment_id, trials)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def browser(driver: Chrome, tmp_path: Path) -> Browser:
    return Browser(driver, tmp_path)


def trained(folder: Path, uri: str, dataset: Path) -> list[TrialResult]:
    where = (f"data.path={dataset}", f"training.storage={folder / 'runs'}", f"tracking.uri={uri}")
    with prompt_ray():
        train(override(presets.load("debug_mnist32_style_alae"), [f"name={RUN}", *where, *BRIEF]))
        base = override(presets.load("debug_mnist32_alae"), [*where, *BRIEF])
        return search(base, [f"{WEIGHT}=loguniform(0.1, 10)"], SearchConfig(trials=2, concurrent=2))


def drawn(picture: Picture) -> bool:
    """Whether it is a page of tiles, large enough to be looked at and not blank: no icon of MLflow's own."""
    return min(picture.width, picture.height) >= 64 and picture.shown_width >= 200 and picture.colours >= 16


def test_the_table_of_runs_names_the_run_and_the_trials(site: Site, browser: Browser) -> None:
    browser.open(site.page("runs"))
    text = browser.see(RUN, "debug_mnist32_alae search")
    assert "Traces help you" not in text and "No traces" not in text


def test_a_registered_version_shows_its_note_its_metrics_and_its_pictures(site: Site, browser: Browser) -> None:
    browser.open(f"{site.address}/#/models/{RUN}/versions/1")
    browser.see("Version 1", "@ best", f"kimg of the run {RUN}, the best by fd_pixels0.032k", "standard error")
    picture = browser.see_picture(drawn, "a page of samples")
    assert "artifact_file_path=figures/" in picture.source


def test_the_note_of_a_version_leads_to_its_run_and_its_logged_model(site: Site, browser: Browser) -> None:
    version = site.client.get_model_version_by_alias(RUN, "best")
    browser.open(f"{site.address}/#/models/{RUN}/versions/{version.version}")
    browser.follow("//a[starts-with(text(), 'at_')]")
    browser.see("About this logged model", "Model versions", "eval/fd_pixels0.032k")
    browser.see_picture(drawn, "a page of samples in the logged model's note")
    browser.open(f"{site.address}/#/models/{RUN}/versions/{version.version}")
    browser.follow(f"//p//a[text()='{RUN}']")
    browser.see("About this run", site.run(RUN).info.run_id)


def test_the_best_trial_alone_of_a_search_is_a_registered_model(site: Site, browser: Browser) -> None:
    browser.open(f"{site.address}/#/models")
    text = browser.see(RUN, "debug_mnist32_alae")
    assert not any(trial.name in text for trial in site.trials)
    browser.open(f"{site.address}/#/models/debug_mnist32_alae/versions/1")
    browser.see(f"of the run debug_mnist32_alae-{site.trials[0].name}, the best by")
    browser.see_picture(drawn, "a page of samples of the best trial")


def test_a_failing_wait_names_its_screenshot(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.support.browser.PATIENCE_S", 0.5)
    browser.open(site.page("runs"))
    with pytest.raises(AssertionError, match=r"a text of no page.*failed\.png"):
        browser.see("a text of no page")
    assert (tmp_path / "failed.png").stat().st_size > 1000
