"""A tracked run explains itself: note, opening pictures, plain artifacts, sections of metrics, and links that open its page."""

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from pipelines.runs.run import Run
from pipelines.tracking import links, names, pages, review
from pipelines.tracking.note import OURS
from pipelines.tracking.replica import NOTE_TAG
from tests.support.measured import evaluate
from tests.support.toy_run import Toy

pytestmark = pytest.mark.slow


def test_sections_sort_by_what_matters_and_bookkeeping_comes_last() -> None:
    logged = ["eval/fd_pixels1k", "eval/fd_pixels1k_se", "eval/nimg", "progress/level", "progress/nimg"]
    logged += ["time/images_per_s", "discriminator/real"]
    assert [names.metric(name) for name in sorted(logged, key=names.metric)] == [
        "eval/fd_pixels1k",
        "loss/discriminator/real",
        "schedule/level",
        "standard_error/fd_pixels1k",
        "throughput/images_per_s",
        "tracking/evaluation_nimg",
        "tracking/nimg",
    ]
    assert names.metric("system/cpu_utilization_percentage") == "system/cpu_utilization_percentage"


def test_the_slider_begins_with_the_newest_page_which_is_also_a_plain_artifact(toy: Toy, client: MlflowClient) -> None:
    replica = toy.replica()
    for nimg in (1000, 2000):
        toy.evaluate(nimg)
        run_id = replica.sync().run_id
    images = [each.path for each in client.list_artifacts(run_id, "images") if each.path.endswith(".png")]
    opening = sorted(path for path in images if "+step+0+" in path)
    assert len(opening) == 2 and len(images) == 4
    toy.replica().sync()
    assert len(client.list_artifacts(run_id, "images")) == 2 * len(images)
    assert [each.path for each in client.list_artifacts(run_id, "figures")] == [
        "figures/overview.png",
        "figures/reconstructions.png",
    ]
    page = Image.open(client.download_artifacts(run_id, "figures/reconstructions.png"))
    assert page.size == (pages.WHOLE_PX, pages.WHOLE_PX) and page.getpixel((0, 0)) == (2000 % 256,) * 3


def test_the_note_has_results_with_errors_and_direction_and_follows_the_run(toy: Toy, client: MlflowClient) -> None:
    evaluate(toy.run, 1000, fd_pixels1k=3.0)
    replica = toy.replica(best_metric="fd_pixels1k")
    run_id = replica.sync().run_id
    assert "**Running**" in client.get_run(run_id).data.tags[NOTE_TAG]
    evaluate(toy.run, 2000, fd_pixels1k=9.0)
    replica.sync(final=True)
    note = client.get_run(run_id).data.tags[NOTE_TAG]
    assert "**Finished**" in note and "no alarm" in note
    assert "| fd_pixels1k | lower | 3.00 ± 0.50 at 1 kimg | 3.00 ± 0.50 at 1 kimg | 9.00 ± 0.50 at 2 kimg |" in note


def test_a_note_of_a_person_stays(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000)
    run_id = toy.replica().sync().run_id
    assert OURS in client.get_run(run_id).data.tags[NOTE_TAG]
    client.set_tag(run_id, NOTE_TAG, "mine")
    toy.tick(2000)
    toy.replica().sync()
    assert client.get_run(run_id).data.tags[NOTE_TAG] == "mine"


def test_a_run_tracked_under_earlier_names_is_recognised_and_keeps_them(toy: Toy, client: MlflowClient) -> None:
    toy.tick(1000)
    run_id = toy.replica().sync().run_id
    client.log_metric(run_id, "progress/nimg", 1000, step=1000)
    toy.history.append(2000, {"discriminator/real": 0.5})
    assert toy.replica().sync().ticks == 1
    metrics = client.get_run(run_id).data.metrics
    assert metrics["progress/nimg"] == 2000 and metrics["discriminator/real"] == 0.5


def test_links_open_the_training_pages_and_name_the_command_for_a_local_store(toy: Toy) -> None:
    toy.tick(1000)
    run_id = toy.replica().sync().run_id
    run = Run(str(toy.spool))
    assert links.sentence(run, toy.uri) == f"review it with: alae review {toy.spool}"
    place = review.find(str(toy.spool), None, "alae")
    page = f"http://host:5000/#/experiments/{place.experiment_id}/runs/{run_id}?workflowType=machine_learning"
    assert place.page("http://host:5000/") == page
    assert links.sentence(run, "http://host:5000") == f"review it at: {page}"


def test_review_of_what_is_not_there_says_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"there is no mlflow\.db in this folder; name a run"):
        review.find(None, None, "alae")
    with pytest.raises(ValueError, match=r"is not a run: it has no experiment\.json"):
        review.find(str(tmp_path), None, "alae")
    assert os.listdir(tmp_path) == []
