"""Packing writes the same bytes on Ray Data and after every kind of interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray

import pipelines.data.pack.pack as packing
from pipelines import storage
from pipelines.data.pack import on_ray
from pipelines.data.pack.order import Job
from pipelines.data.pack.pack import pack
from pipelines.sources import Source
from tests.support.packed import differing, files_of, image_folder, striped_parquet

PATIENCE_S = 120.0
IMAGES = 600
BROKEN = (3, 77, 78, 399)
OPTIONS = ("--rows-per-shard", "8", "--validation", "0.2", "--max-rejected", "0.5")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Images for 75 shards, some of them broken and some duplicated."""
    folder = tmp_path_factory.mktemp("source")
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    pixels[500:510] = pixels[:10]
    images = Path(image_folder(folder / "images", pixels))
    for index in BROKEN:
        (images / f"{index:03d}.png").write_bytes(b"broken")
    return str(images)


@pytest.fixture(scope="module")
def undisturbed(source: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that every packing of the source must produce."""
    dest = tmp_path_factory.mktemp("undisturbed")
    pack(source, str(dest), rows_per_shard=8, validation_fraction=0.2, max_rejected_fraction=0.5, executor="here")
    return files_of(dest)


@pytest.fixture
def start(source: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `alae pack`, and kill its remaining processes afterwards."""
    started = []

    def begin(dest: Path | str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pipelines.cli", "pack", source, str(dest), *OPTIONS, *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield begin
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL to a command and all processes that it started, as if the machine were lost."""
    if process.poll() is None:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in below:
            kill_if_there(child)
        psutil.wait_procs(below, timeout=30)
        process.wait()


def kill_if_there(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass


def wait_for_shards(dest: Path, process: subprocess.Popen[str], count: int) -> None:
    """Wait until `count` shards are complete; fail if the packing ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not (dest / "packing.json").exists() or len(json.loads((dest / "packing.json").read_text())["done"]) < count:
        assert time.monotonic() < deadline, "no shard is done"
        assert process.poll() is None, f"ended too early: {process.communicate()[0]}"
        time.sleep(0.005)


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_packing_that_was_killed_goes_on_and_ends_the_same(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    killed = start(tmp_path / "d", "--executor", "here")
    wait_for_shards(tmp_path / "d", killed, 5)
    kill(killed)
    assert not (tmp_path / "d" / "manifest.json").exists()
    for name in ("train/.shard_00070.parquet.0.part", ".packing.json.0.part"):
        (tmp_path / "d" / name).write_bytes(b"left by the killed process")
    assert "resumed after" in finish(start(tmp_path / "d", "--executor", "here"))
    assert differing(files_of(tmp_path / "d"), undisturbed) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_packing_on_ray_whose_driver_was_killed_goes_on_and_ends_the_same(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    killed = start(tmp_path / "d", "--executor", "ray")
    wait_for_shards(tmp_path / "d", killed, 3)
    kill(killed)
    assert not (tmp_path / "d" / "manifest.json").exists()
    output = finish(start(tmp_path / "d", "--executor", "ray"))
    first, *others = output.splitlines()
    assert first.startswith("packed ") and "resumed after" in first and len(others) == 2, "no line of Ray's"
    assert differing(files_of(tmp_path / "d"), undisturbed) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_packing_on_ray_outlives_the_loss_of_its_workers(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    process = start(tmp_path / "d", "--executor", "ray")
    for count in (2, 20):
        wait_for_shards(tmp_path / "d", process, count)
        killed = kill_a_worker(process)
        assert killed, "no task was running"
    finish(process)
    assert differing(files_of(tmp_path / "d"), undisturbed) == []


@pytest.mark.ray
@pytest.mark.store
@pytest.mark.slow
def test_a_packing_on_ray_into_an_object_store_gives_the_same_bytes(
    s3: str, start: Callable[..., subprocess.Popen[str]], undisturbed: dict[str, bytes]
) -> None:
    finish(start(f"{s3}/d", "--executor", "ray"))
    stored = {path: storage.read_bytes(f"{s3}/d/{path}") for path in storage.list_files(f"{s3}/d")}
    assert differing(stored, undisturbed) == []


def kill_a_worker(process: subprocess.Popen[str]) -> bool:
    """Send SIGKILL to one of the processes that pack."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            if "MapBatches" in name_of(child):
                os.kill(child.pid, signal.SIGKILL)
                return True
    return False


def name_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.ray
def test_on_ray_the_bytes_are_the_same_and_progress_counts_every_image(
    cluster: None, source: str, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    seen: list[int] = []
    options = {"rows_per_shard": 8, "validation_fraction": 0.2, "max_rejected_fraction": 0.5}
    pack(source, str(tmp_path), executor="ray", progress=lambda done, total: seen.append(done), **options)  # type: ignore[arg-type]
    assert differing(files_of(tmp_path), undisturbed) == []
    assert seen[0] == 0 and seen[-1] == IMAGES and seen == sorted(seen)


@pytest.mark.ray
def test_on_ray_a_source_in_chunks_gives_the_same_bytes(cluster: None, tmp_path: Path) -> None:
    images = striped_parquet(tmp_path / "a.parquet", 240, rows_per_group=4)
    for executor in ("here", "ray"):
        pack(images, str(tmp_path / executor), rows_per_shard=16, executor=executor)  # type: ignore[arg-type]
    assert differing(files_of(tmp_path / "here"), files_of(tmp_path / "ray")) == []


@pytest.mark.parametrize(
    ("rows_per_group", "cpus", "tasks"),
    [
        (None, 2, 100),  # random access: one task per shard
        (1, 2, 63),  # windows of 16 images
        (10, 2, 7),  # windows of 160
        (10, 40, 40),  # every CPU has work
        (1000, 2, 2),
    ],
)
def test_shards_of_the_same_chunks_are_packed_by_one_task(rows_per_group: int | None, cpus: int, tasks: int) -> None:
    chunks = None if rows_per_group is None else np.arange(1000) // rows_per_group
    assert on_ray._tasks(100, 10, chunks, cpus) == tasks


@pytest.mark.ray
@pytest.mark.parametrize("kind", [storage.StorageUnreachableError, RuntimeError, OSError])
def test_on_ray_a_failing_source_is_one_sentence(cluster: None, tmp_path: Path, kind: type[Exception]) -> None:
    class Failing:
        def fetch(self, key: int) -> bytes:
            raise kind("the store is away")

    index = pa.table({"id": ["a", "b"], "key": [0, 1], "label": [-1, -1]})
    source = Source("x", "test", 3, Failing(), index, pa.table({}), (), "print")
    with pytest.raises((ValueError, RuntimeError), match="the store is away") as caught:
        pack(source, str(tmp_path / "d"), resolution=8, executor="ray")
    assert "\n" not in str(caught.value)


@pytest.mark.ray
def test_on_ray_relative_paths_are_those_of_the_command(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder(tmp_path / "images", np.zeros((20, 8, 8, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert pack("images", "d", executor="ray").rows == {"train": 20}
    assert (tmp_path / "d" / "manifest.json").exists()


@pytest.mark.ray
def test_on_ray_too_many_rejected_images_stop_the_packing_before_its_end(cluster: None, tmp_path: Path) -> None:
    images = Path(image_folder(tmp_path / "images", np.zeros((400, 8, 8, 3), np.uint8)))
    for path in sorted(images.iterdir())[1:]:
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"\d+ of 400 images are unusable, more than max_rejected_fraction=0\.01"):
        pack(str(images), str(tmp_path / "d"), rows_per_shard=4, executor="ray")
    assert 20 <= len((tmp_path / "d" / "rejected.jsonl").read_text().splitlines()) < 399


@pytest.mark.ray
def test_on_ray_a_source_that_a_node_cannot_see_is_a_sentence(
    cluster: None, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(on_ray._Task):
        def __call__(self, batch):  # type: ignore[no-untyped-def]
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(on_ray.storage, "exists", lambda url: False)  # as without a shared disk
                yield from super().__call__(batch)

    monkeypatch.setattr(on_ray, "_Task", Elsewhere)
    with pytest.raises(
        ValueError, match=r"images is not on node .*; move it where all nodes can read it .*--executor here"
    ):
        pack(source, str(tmp_path / "d"), rows_per_shard=8, max_rejected_fraction=0.5, executor="ray")


def test_a_shard_that_was_written_to_the_disk_of_another_node_is_a_sentence(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(plan, jobs):  # type: ignore[no-untyped-def]
        for advance in packing.pack_here(plan, jobs):
            if advance.done:
                (Path(plan.dest) / advance.done.shard.path).unlink()
            yield advance

    monkeypatch.setattr(packing, "_executor", lambda *_: elsewhere)
    with pytest.raises(ValueError, match=r"train/shard_00000\.parquet was packed on another node and is not in"):
        pack(source, str(tmp_path / "d"), rows_per_shard=8, max_rejected_fraction=0.5)


def test_a_packing_stopped_in_the_middle_of_a_shard_loses_that_shard_alone(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Job] = []

    def failing(plan, jobs):  # type: ignore[no-untyped-def]
        for advance in packing.pack_here(plan, jobs):
            if len(done) == 2:
                raise ConnectionError("the store is away")
            done.extend([advance.job] if advance.done else [])
            yield advance

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(packing, "_executor", lambda *_: failing)
        pack(source, str(tmp_path / "d"), rows_per_shard=128, max_rejected_fraction=0.5)
    report = pack(source, str(tmp_path / "d"), rows_per_shard=128, max_rejected_fraction=0.5)
    assert report.resumed_shards == 2


@pytest.mark.parametrize(
    ("asked", "images", "address", "uses_ray"),
    [
        ("here", 10**6, "auto", False),
        ("ray", 10, "", True),
        ("auto", 10, "", False),
        ("auto", 10**6, "", True),
        ("auto", 10, "auto", True),
    ],
)
def test_ray_packs_where_asked_on_a_cluster_or_for_many_images(
    asked: packing.Executor, images: int, address: str, uses_ray: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert packing._executor(asked, images) is (on_ray.pack_on_ray if uses_ray else packing.pack_here)


@pytest.mark.slow
def test_a_packing_task_loads_no_torch_which_would_double_its_memory() -> None:
    code = "import sys, pipelines.data.pack.job; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
