"""A store that loses power during the upload of a checkpoint and starts again."""

import threading
import time
from pathlib import Path

import pytest

from alae_core.state import TrainState
from pipelines import presets, storage
from pipelines.runs import checkpoint
from tests.support import tensors, tiny
from tests.support.ceph import Ceph
from tests.support.proxy import SlowStore
from tests.support.store import new_bucket, set_s3_environment

pytestmark = [pytest.mark.store, pytest.mark.slow]

EXPERIMENT = tiny.brief(presets.load("debug_mnist32_alae"))
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def trained() -> TrainState:
    state = tiny.build(EXPERIMENT)
    tiny.train(state, EXPERIMENT, until=tiny.BATCH)
    return state


def written(state: TrainState, folder: Path) -> Path:
    folder.mkdir()
    checkpoint.write(state, EXPERIMENT, folder, commit=None)
    return folder


def require_whole(run: str, state: TrainState) -> list[int]:
    """Require that every complete checkpoint of the run loads with the tensors of `state`, and return their nimg."""
    whole = checkpoint.finished(run)
    for ref in whole:
        assert tensors.differing(checkpoint.read_state(ref.url), state.state_dict()) == []
        checkpoint.load_averages(ref.url)
    return [ref.nimg for ref in whole]


def test_a_store_killed_in_an_upload_shows_no_half_checkpoint_and_takes_the_rest_when_it_is_back(
    durable_ceph: Ceph, trained: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SlowStore(durable_ceph.endpoint, latency_s=0.05) as proxy:
        set_s3_environment(monkeypatch, proxy.endpoint)
        run = f"{new_bucket()}/runs/a"
        checkpoint.publish(written(trained, tmp_path / "first"), f"{run}/checkpoint_000000000008")
        second = f"{run}/checkpoint_000000000016"
        upload = threading.Thread(target=checkpoint.publish, args=(written(trained, tmp_path / "second"), second))
        upload.start()
        deadline = time.monotonic() + LIMIT_S
        while not any(
            line.startswith("PUT") and checkpoint.MANIFEST in line and second[5:] in line for line in proxy.log
        ):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        durable_ceph.kill()
        assert upload.is_alive()
        with storage.patience(0), pytest.raises(storage.StorageUnreachableError):
            checkpoint.latest(run)
        durable_ceph.start()
        while upload.is_alive():
            assert time.monotonic() < deadline
            assert require_whole(run, trained) in ([8], [8, 16])
        assert require_whole(run, trained) == [8, 16]
        assert storage.list_dir(second) == sorted([checkpoint.STATE, checkpoint.EMA, checkpoint.MANIFEST])
