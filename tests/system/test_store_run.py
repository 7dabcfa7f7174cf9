"""A complete run on a slow store with two outages: the training, the checkpoints, and everything it writes."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alae_core.fit import fit
from pipelines import presets, storage
from pipelines.data.feed.stream import SPLIT
from pipelines.data.format.shards import Dataset
from pipelines.data.pack.pack import pack
from pipelines.experiment.override import override
from pipelines.runs import checkpoint
from pipelines.runs.history import read_history
from pipelines.runs.run import Run
from pipelines.training.worker import engine
from tests.support import tiny
from tests.support.ceph import Ceph
from tests.support.proxy import SlowStore
from tests.support.runs import PATIENCE_S, Command, differing, final_state
from tests.support.store import KEY, SECRET, new_bucket, set_s3_environment

pytestmark = [pytest.mark.ray, pytest.mark.store, pytest.mark.slow]

SETTINGS = (
    "scaling.workers=1",
    "scaling.cpus_per_worker=0.5",
    "scaling.cpus_per_data_task=0.5",
    "scaling.max_failures=0",  # no failure is allowed, because a restart would hide it
    "training.checkpoint_ticks=2",
    "training.keep_checkpoints=null",
    "evaluation.enabled=false",
    "data.window_images=16",
)
LATENCY_S = 0.02
OUTAGE_S = 20.0


@dataclass(frozen=True)
class Disturbed:
    """The run, the folder of everything that it wrote on this machine, and its output."""

    run: Run
    dataset: str
    folder: Path
    output: str


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short path, unlike pytest's: it holds Ray's sockets, whose paths must be short."""
    made = Path(tempfile.mkdtemp(prefix="run-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def disturbed(durable_ceph: Ceph, folder: Path) -> Iterator[Disturbed]:
    """A run whose store is down for 20 s while shards are read and loses power while a checkpoint is uploaded."""
    with pytest.MonkeyPatch.context() as patch, SlowStore(durable_ceph.endpoint, LATENCY_S) as proxy:
        set_s3_environment(patch, proxy.endpoint)
        bucket = new_bucket()
        dataset = f"{bucket}/tiny"
        noise = np.random.default_rng(0)
        np.savez(folder / "images.npz", images=noise.integers(0, 256, (200, 8, 8), np.uint8))
        pack(str(folder / "images.npz"), dataset, resolution=8, rows_per_group=24, rows_per_shard=48)
        tracking = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        command = Command(
            storage=f"{bucket}/runs",
            name="run",
            dataset=dataset,
            overrides=(*SETTINGS, tracking),
            env={"RAY_TMPDIR": str(folder)},
            cwd=folder,
        )
        started = len(proxy.log)
        command.start()
        try:
            _wait(command, lambda: _reads(proxy, started))
            proxy.down(OUTAGE_S)
            away = len(proxy.log)
            _wait(command, lambda: any("PUT" in line and checkpoint.STATE in line for line in proxy.log[away:]))
            assert _reads(proxy, away), "the outage came after all shards were read"
            durable_ceph.kill()
            durable_ceph.start()
            output = command.finish()
        finally:
            command.kill_driver()
        yield Disturbed(command.run, dataset, folder, output)


def _reads(proxy: SlowStore, since: int) -> bool:
    return any(".parquet" in line for line in proxy.log[since:])


def _wait(command: Command, condition: Callable[[], bool]) -> None:
    assert command.process is not None
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        assert command.process.poll() is None, command.process.communicate()[0]
        time.sleep(0.005)


def test_it_ends_bit_identical_to_the_plain_loop_on_the_same_images(disturbed: Disturbed) -> None:
    settings = [f"data.path={disturbed.dataset}", *SETTINGS]
    experiment = override(presets.load("debug_mnist32_style_alae"), settings)
    split = Dataset.open(disturbed.dataset).split(SPLIT)
    plain: dict[str, Any] = fit(
        tiny.build(experiment),
        engine(experiment),
        split.read(experiment.schedule.resolutions[-1], np.arange(split.rows)),
        group_sizes=split.group_sizes,
        window_images=experiment.data.window_images,
    ).state_dict()
    assert plain["nimg"] == experiment.schedule.total_nimg
    assert differing(final_state(disturbed.run), plain) == []


def test_no_tick_and_no_checkpoint_of_it_is_missing_and_every_checkpoint_loads(disturbed: Disturbed) -> None:
    saved = checkpoint.finished(disturbed.run.url)
    assert [ref.nimg for ref in saved] == [64, 128, 192, 256, 320, 384, 448, 480]
    for ref in saved:
        assert checkpoint.read_state(ref.url)["nimg"] == checkpoint.load_averages(ref.url)[3] == ref.nimg
    history = disturbed.folder / "runs" / "run" / "history.jsonl"
    assert [tick.nimg for tick in read_history(history)[0]] == list(range(32, 481, 32))


def test_its_key_is_in_no_file_that_was_written_here_or_on_the_store(disturbed: Disturbed) -> None:
    """The search covers packing, the run, MLflow and Ray's logs."""
    bucket = disturbed.dataset.removesuffix("/tiny")
    objects = {name: storage.read_bytes(f"{bucket}/{name}") for name in storage.list_files(bucket)}
    files = {str(path): path.read_bytes() for path in disturbed.folder.rglob("*") if path.is_file()}
    assert any(name.endswith("mlflow.db") for name in files) and any("/logs/" in name for name in files)
    assert any(name.endswith("manifest.json") for name in objects)
    written = objects | files | {"output": disturbed.output.encode()}
    for word in (SECRET, KEY):
        assert [name for name, data in written.items() if word.encode() in data] == []
