"""Storage traffic of a checkpoint: each file hashed once a way, one manifest an evaluation, one download for all ranks."""

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from alae_core import sync
from alae_core.state import TrainState
from pipelines import presets, storage
from pipelines.evaluation.validation import evaluate_checkpoint
from pipelines.experiment.override import override
from pipelines.runs import checkpoint, layout
from pipelines.storage import files
from tests.support import tiny
from tests.support.ranks import Pair

EXPERIMENT = tiny.brief(presets.load("debug_mnist32_alae"))
FILES = (layout.STATE, layout.EMA)


@pytest.fixture(scope="module")
def trained() -> TrainState:
    """A state with moments."""
    state = tiny.build(EXPERIMENT)
    tiny.train(state, EXPERIMENT, until=3 * tiny.BATCH)
    return state


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is hashed, by its name; what is read back is another file of a name that holds it."""
    counted: Counter[str] = Counter()
    digest, fingerprint = files._digest, checkpoint._fingerprint
    monkeypatch.setattr(files, "_digest", lambda file: (counted.update([Path(file.name).name]), digest(file))[1])
    monkeypatch.setattr(checkpoint, "_fingerprint", lambda path: (counted.update([path.name]), fingerprint(path))[1])
    return counted


def once_out_and_once_read_back(hashed: Counter[str], name: str) -> bool:
    copies = {other: count for other, count in hashed.items() if name in other and other != name}
    return hashed[name] == 1 and list(copies.values()) == [1]


def test_each_file_is_hashed_once_on_the_way_out_and_once_read_back(
    trained: TrainState, tmp_path: Path, hashed: Counter[str]
) -> None:
    folder = checkpoint.write_on_first_rank(trained, EXPERIMENT, None)
    assert folder is not None
    checkpoint.publish(folder, str(tmp_path / "a"))
    assert all(once_out_and_once_read_back(hashed, name) for name in FILES), hashed
    hashed.clear()
    checkpoint.copy(str(tmp_path / "a"), str(tmp_path / "b"))
    assert all(once_out_and_once_read_back(hashed, name) for name in FILES), hashed
    hashed.clear()
    checkpoint.read_state(str(tmp_path / "b"))
    assert hashed == {layout.STATE: 1}


def test_a_file_that_changed_since_it_was_hashed_is_not_published(trained: TrainState, tmp_path: Path) -> None:
    folder = checkpoint.write_on_first_rank(trained, EXPERIMENT, None)
    assert folder is not None
    with (folder / layout.EMA).open("ab") as file:
        file.write(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "RETRY_WAITS_S", ())
        with pytest.raises(RuntimeError, match=r"ema\.safetensors reads back differently from what was written"):
            checkpoint.publish(folder, str(tmp_path / "a"))
    assert not (tmp_path / "a" / layout.MANIFEST).exists()


def test_an_evaluation_reads_the_manifest_once(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [f"data.path={tiny_dataset}", "evaluation.reconstructions=8", "training.keep_checkpoints=1"]
    experiment = override(
        presets.load("debug_mnist32_style_alae"),
        [*settings, "evaluation.metrics=fd_pixels0.05k", "evaluation.workers=1"],
    )
    state = tiny.build(experiment)
    state.nimg = 480
    folder = tiny.checkpointed(tmp_path, state, experiment)
    reads: list[str] = []
    read = files.read_bytes
    monkeypatch.setattr(files, "read_bytes", lambda url: (reads.append(url), read(url))[1])
    monkeypatch.setattr(storage, "read_bytes", lambda url: (reads.append(url), read(url))[1])
    evaluate_checkpoint(str(tmp_path), str(folder))
    assert (tmp_path / layout.best_path(folder.name) / layout.MANIFEST).exists()
    assert reads.count(f"{folder}/{layout.MANIFEST}") == 1


# --- ranks --------------------------------------------------------------------------------------------


def digest_of(state: TrainState) -> str:
    """Digest of every tensor and counter, moments and averages included."""
    total = hashlib.sha256()
    for path, value in sorted(tiny.flat(state.state_dict()).items()):
        shown = (
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if torch.is_tensor(value) else repr(value)
        )
        total.update(path.encode() + (shown if isinstance(shown, bytes) else shown.encode()))
    return total.hexdigest()


def restored(url: str, networks_only: bool) -> tuple[str, int, str]:
    """A rank's state after it began from other weights; the bytes that it downloaded; its error, as a sentence."""
    downloaded = 0

    def counting(source: str, target: Path) -> None:
        nonlocal downloaded
        files.download(source, target)
        downloaded += target.stat().st_size

    state = tiny.build(EXPERIMENT, seed=99 + sync.rank())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "download", counting)
        patch.setattr(checkpoint, "BLOCK_BYTES", 1000)
        try:
            checkpoint.load_into(state, url, networks_only=networks_only)
        except (RuntimeError, ValueError) as error:
            return "", downloaded, f"{type(error).__name__}: {error}"
    return digest_of(state), downloaded, ""


def saved(state: TrainState, run: Path) -> str:
    return str(tiny.checkpointed(run, state, EXPERIMENT))


@pytest.mark.distributed
def test_two_ranks_restore_all_of_a_state_from_one_download(trained: TrainState, tmp_path: Path, pair: Pair) -> None:
    url = saved(trained, tmp_path)
    size = os.path.getsize(f"{url}/{layout.STATE}")
    answers = pair(restored, url, False)
    assert answers == [(digest_of(trained), size, ""), (digest_of(trained), 0, "")]


@pytest.mark.distributed
def test_two_ranks_take_the_networks_of_another_run_from_one_download(
    trained: TrainState, tmp_path: Path, pair: Pair
) -> None:
    url = saved(trained, tmp_path)
    alone = tiny.build(EXPERIMENT, seed=7)
    checkpoint.load_into(alone, url, networks_only=True)
    first, second = pair(restored, url, True)
    assert first[0] == second[0] == digest_of(alone) and second[1] == 0


@pytest.mark.distributed
@pytest.mark.parametrize("fault", ["flipped", "gone", "foreign"])
def test_what_is_wrong_with_a_checkpoint_is_raised_by_both_ranks_at_once(
    trained: TrainState, tmp_path: Path, pair: Pair, fault: str
) -> None:
    url = saved(trained, tmp_path)
    path = Path(url) / layout.STATE
    if fault == "flipped":
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        sentence = f"{path} is not the file its manifest describes"
    elif fault == "gone":
        (Path(url) / layout.MANIFEST).unlink()
        sentence = f"{url} is not a finished checkpoint"
    else:
        other = tiny.brief(presets.load("debug_mnist32_style_alae"))
        url = str(tiny.checkpointed(tmp_path / "other", tiny.build(other), other))
        sentence = "does not fit this experiment"
    answers: list[Any] = pair(restored, url, False)
    assert [sentence in error for _, _, error in answers] == [True, True], answers
    url = saved(trained, tmp_path / "whole")
    assert [error for _, _, error in pair(restored, url, False)] == ["", ""], "the ranks are still in step"


def newest(run_url: str) -> str:
    """The checkpoint that a rank resumes from; only rank 0 may look."""
    with pytest.MonkeyPatch.context() as patch:
        if sync.rank():
            patch.setattr(storage, "list_dir", None)
        found = checkpoint.latest_for_all_ranks(run_url)
    return found.url if found else ""


@pytest.mark.distributed
def test_all_ranks_resume_from_the_checkpoint_that_rank_0_sees(trained: TrainState, tmp_path: Path, pair: Pair) -> None:
    assert pair(newest, str(tmp_path)) == ["", ""]
    url = saved(trained, tmp_path)
    assert pair(newest, str(tmp_path)) == [url, url]
