"""A checkpoint comes back bit for bit, or says what is wrong with it."""

import copy
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alae_core.state import TrainState
from pipelines import presets, storage
from pipelines.experiment import Experiment
from pipelines.runs import checkpoint, layout
from tests.support import tensors, tiny

EXPERIMENT = tiny.brief(presets.load("debug_mnist32_alae"))
OTHER = tiny.brief(presets.load("debug_mnist32_style_alae"))


@pytest.fixture(scope="module")
def trained() -> TrainState:
    """A state with moments and averages that differ from the networks."""
    state = tiny.build(EXPERIMENT)
    tiny.train(state, EXPERIMENT, until=3 * tiny.BATCH)
    state.seconds = 1.25
    return state


def saved(state: TrainState, url: str, experiment: Experiment = EXPERIMENT, commit: str | None = "abc") -> str:
    """A checkpoint of `state` below `url`; returns its address."""
    folder = checkpoint.write_on_first_rank(state, experiment, commit)
    assert folder is not None
    where = f"{url}/{layout.checkpoint_name(state.nimg)}"
    checkpoint.publish(folder, where)
    return where


def at(state: TrainState, nimg: int) -> TrainState:
    return replace(state, nimg=nimg)


def restored(url: str, **options: Any) -> TrainState:
    state = tiny.build(EXPERIMENT, seed=99)
    checkpoint.load_into(state, url, **options)
    return state


def require_same(state: TrainState, original: TrainState) -> None:
    assert tensors.differing(state.state_dict(), original.state_dict()) == []


def test_a_checkpoint_comes_back_bit_for_bit(trained: TrainState, tmp_path: Path) -> None:
    require_same(restored(saved(trained, str(tmp_path))), trained)


def test_the_manifest_says_what_the_checkpoint_is(trained: TrainState, tmp_path: Path) -> None:
    url = saved(trained, str(tmp_path))
    manifest = checkpoint.read_manifest(url)
    assert (manifest["schema"], manifest["nimg"], manifest["commit"]) == (1, trained.nimg, "abc")
    assert Experiment.from_json(json.dumps(manifest["experiment"])) == EXPERIMENT
    for name, described in manifest["files"].items():
        assert described == {
            "bytes": storage.size(f"{url}/{name}"),
            "sha256": storage.sha256(f"{url}/{name}"),
        }


def test_the_averages_come_back_bit_for_bit_and_frozen(trained: TrainState, tmp_path: Path) -> None:
    experiment, algorithm, networks, nimg = checkpoint.load_averages(saved(trained, str(tmp_path)))
    assert (experiment, nimg) == (EXPERIMENT, trained.nimg)
    assert set(networks) == set(algorithm.averaged) == set(trained.ema)
    for name, network in networks.items():
        assert tensors.differing(network.state_dict(), trained.ema[name].state_dict()) == []
        assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert tensors.differing(
        {name: network.state_dict() for name, network in networks.items()},
        {name: trained.algorithm.networks[name].state_dict() for name in networks},
    )


def test_networks_only_takes_the_networks_and_averages_and_leaves_the_counters(
    trained: TrainState, tmp_path: Path
) -> None:
    state = restored(saved(trained, str(tmp_path)), networks_only=True)
    assert (state.nimg, state.iteration, state.seconds) == (0, 0, 0.0)
    assert tensors.differing(tensors.networks_of(state), tensors.networks_of(trained)) == []
    assert all(optimizer.state_dict()["state"] == {} for optimizer in state.optimizers.values())


def test_a_folder_without_a_manifest_is_no_checkpoint(trained: TrainState, tmp_path: Path) -> None:
    url = saved(trained, str(tmp_path))
    os.remove(f"{url}/{checkpoint.MANIFEST}")
    assert checkpoint.finished(str(tmp_path)) == [] and checkpoint.latest(str(tmp_path)) is None
    with pytest.raises(ValueError, match=r"checkpoint_000000000024 is not a finished checkpoint: it has no manifest"):
        restored(url)


def test_a_run_that_does_not_exist_has_no_checkpoints(tmp_path: Path) -> None:
    assert checkpoint.latest(str(tmp_path / "nowhere")) is None


def test_latest_is_the_checkpoint_of_the_most_images(trained: TrainState, tmp_path: Path) -> None:
    for nimg in (2000, 10_000, 800):
        saved(at(trained, nimg), str(tmp_path))
    (tmp_path / "checkpoint_000000020000").mkdir()  # begun, never finished
    (tmp_path / "checkpoint_best").mkdir()
    newest = checkpoint.latest(str(tmp_path))
    assert newest == checkpoint.CheckpointRef(f"{tmp_path}/checkpoint_000000010000", 10_000)
    assert [ref.nimg for ref in checkpoint.finished(str(tmp_path))] == [800, 2000, 10_000]


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.EMA])
def test_a_flipped_byte_is_refused_by_name(trained: TrainState, tmp_path: Path, name: str) -> None:
    url = saved(trained, str(tmp_path))
    path = Path(url) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    load = restored if name == checkpoint.STATE else checkpoint.load_averages
    with pytest.raises(RuntimeError, match=rf"checkpoint_000000000024/{name} is not the file its manifest describes"):
        load(url)


def test_a_truncated_file_is_refused_by_name(trained: TrainState, tmp_path: Path) -> None:
    url = saved(trained, str(tmp_path))
    os.truncate(f"{url}/{checkpoint.STATE}", 1000)
    with pytest.raises(RuntimeError, match=r"state\.pt is not the file its manifest describes; delete"):
        restored(url)


def test_an_upload_that_fails_leaves_no_checkpoint_and_keeps_the_one_before(
    trained: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(at(trained, 8), str(tmp_path))
    _fail_at_the_second_file(monkeypatch)
    with pytest.raises(RuntimeError, match="cut off"):
        saved(at(trained, 16), str(tmp_path))
    assert (tmp_path / "checkpoint_000000000016" / checkpoint.STATE).exists()
    assert [ref.nimg for ref in checkpoint.finished(str(tmp_path))] == [8]


def test_a_checkpoint_written_again_is_none_until_it_is_whole_again(
    trained: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = saved(trained, str(tmp_path))
    with monkeypatch.context() as patch:
        _fail_at_the_second_file(patch)
        with pytest.raises(RuntimeError, match="cut off"):
            saved(trained, str(tmp_path))
    assert checkpoint.latest(str(tmp_path)) is None
    saved(trained, str(tmp_path))
    require_same(restored(url), trained)


def _fail_at_the_second_file(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = storage.upload_verified
    uploaded: list[str] = []

    def fails(local: Path, url: str, digest: str | None = None) -> str:
        if uploaded:
            raise RuntimeError("cut off")
        uploaded.append(url)
        return upload(local, url, digest)

    monkeypatch.setattr(storage, "upload_verified", fails)


class Bomb:
    """Something that runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_pickled_object_in_a_checkpoint_is_refused_and_not_run(
    trained: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = saved(trained, str(tmp_path))
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    state = Path(url) / checkpoint.STATE
    torch.save({"schema": 1, "networks": Bomb()}, state)
    manifest = json.loads((Path(url) / checkpoint.MANIFEST).read_text())
    manifest["files"][checkpoint.STATE] = {
        "bytes": state.stat().st_size,
        "sha256": storage.sha256(str(state)),
    }
    (Path(url) / checkpoint.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError, match=r"state\.pt holds more than tensors and plain values"):
        restored(url)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(state, weights_only=True)


def test_the_checkpoint_of_another_algorithm_is_refused_with_both_lists_of_keys(
    trained: TrainState, tmp_path: Path
) -> None:
    url = saved(tiny.build(OTHER), str(tmp_path), OTHER)
    state = tiny.build(EXPERIMENT)
    before = copy.deepcopy(state.state_dict())
    with pytest.raises(
        ValueError, match=r"does not fit this experiment: networks\.\w+ missing \[.+\], unexpected \[.+\]"
    ):
        checkpoint.load_into(state, url)
    assert tensors.differing(before, state.state_dict()) == []


def test_the_temporary_folder_of_a_checkpoint_is_the_only_place_it_is_written_before_the_upload(
    trained: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = checkpoint.write_on_first_rank(trained, EXPERIMENT, None)
    assert folder is not None and folder.parent == tmp_path
    assert sorted(path.name for path in folder.iterdir()) == ["ema.safetensors", "manifest.json", "state.pt"]


def test_the_other_ranks_write_no_checkpoint(trained: TrainState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint.sync, "rank", lambda: 1)
    assert checkpoint.write_on_first_rank(trained, EXPERIMENT, None) is None
