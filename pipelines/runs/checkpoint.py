"""TrainState <-> a checkpoint directory: state.pt, ema.safetensors, and manifest.json last, verified after the upload.

A directory without a manifest is not a checkpoint, so an upload that dies halfway leaves nothing to trip over.
"""

import hashlib
import json
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch

from alae_core import sync
from alae_core.state import SCHEMA, TrainState, channels_last
from pipelines import storage
from pipelines.experiment import Experiment
from pipelines.runs import layout
from pipelines.runs.history import Tick
from pipelines.runs.layout import EMA, MANIFEST, STATE
from pipelines.storage.address import redact

BLOCK_BYTES = 16 * 2**20
"""Bytes that rank 0 sends to the other ranks at a time."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class CheckpointRef:
    """A finished checkpoint on storage."""

    url: str
    nimg: int


def write(
    state: TrainState,
    experiment: Experiment,
    folder: Path,
    commit: str | None,
    ticks: Sequence[Tick] = (),
    changes: Sequence[dict[str, Any]] = (),
) -> None:
    """Write a complete checkpoint into the local `folder`; `ticks` are those since the last one.

    `changes` are the records of the declared changes that `experiment` includes.
    """
    torch.save(state.state_dict(), folder / STATE)
    averages = {
        f"{name}.{key}": tensor.contiguous()
        for name, network in state.ema.items()
        for key, tensor in network.state_dict().items()
    }
    safetensors.torch.save_file(averages, folder / EMA)
    manifest = {
        "schema": SCHEMA,
        "nimg": state.nimg,
        "commit": commit,
        "experiment": json.loads(experiment.to_json()),
        "changes": [*changes],
        "files": {name: _fingerprint(folder / name) for name in (STATE, EMA)},
        "ticks": [asdict(tick) for tick in ticks],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2))


def write_on_first_rank(
    state: TrainState,
    experiment: Experiment,
    commit: str | None,
    ticks: Sequence[Tick] = (),
    changes: Sequence[dict[str, Any]] = (),
) -> Path | None:
    """Rank 0 writes a checkpoint into a new temporary folder and returns it; the others have nothing to write."""
    if sync.rank() != 0:
        return None
    folder = Path(tempfile.mkdtemp(prefix="alae_checkpoint_"))
    write(state, experiment, folder, commit, ticks, changes)
    return folder


def publish(folder: Path, url: str) -> None:
    """Upload the files of `folder` to `url`, each verified by its digest in the manifest, which comes last."""
    if storage.exists(f"{url}/{MANIFEST}"):
        storage.delete_file(f"{url}/{MANIFEST}")
    for name, expected in json.loads((folder / MANIFEST).read_text())["files"].items():
        storage.upload_verified(folder / name, f"{url}/{name}", digest=expected["sha256"])
    storage.upload_verified(folder / MANIFEST, f"{url}/{MANIFEST}")


def copy(url: str, dest: str, manifest: dict[str, Any] | None = None) -> None:
    """Copy the checkpoint at `url` to `dest`, checked against its manifest on the way; the manifest last."""
    manifest = manifest or read_manifest(url)
    with tempfile.TemporaryDirectory() as scratch:
        for name in manifest["files"]:
            _fetch(url, name, Path(scratch), manifest)
        (Path(scratch) / MANIFEST).write_text(json.dumps(manifest, indent=2))
        publish(Path(scratch), dest)


def copy_averages(url: str, folder: Path) -> None:
    """Write what `load_averages` reads of the checkpoint at `url` into the local `folder`, to be published with it.

    The experiment's `tracking` is left out, and credentials in its other addresses are replaced.
    """
    manifest = read_manifest(url)
    _fetch(url, EMA, folder, manifest)
    experiment = {key: value for key, value in manifest["experiment"].items() if key != "tracking"}
    kept: dict[str, Any] = {
        **{key: manifest[key] for key in ("schema", "nimg", "commit") if key in manifest},
        "experiment": _redacted(experiment),
        "files": {EMA: manifest["files"][EMA]},
    }
    (folder / MANIFEST).write_text(json.dumps(kept, indent=2))


def finished(run_url: str) -> list[CheckpointRef]:
    """The finished checkpoints of a run, oldest first; none if the run does not exist."""
    if not storage.exists(run_url):
        return []
    found = []
    for name in storage.list_dir(run_url):
        nimg = layout.checkpoint_nimg(name)
        if nimg is not None and storage.exists(f"{run_url}/{name}/{MANIFEST}"):
            found.append(CheckpointRef(f"{run_url}/{name}", nimg))
    return sorted(found, key=lambda ref: ref.nimg)


def latest(run_url: str) -> CheckpointRef | None:
    """The newest finished checkpoint of a run."""
    return max(finished(run_url), key=lambda ref: ref.nimg, default=None)


def at(place: str) -> str:
    """The absolute address of the checkpoint at `place`, or of the newest one of the run there; ValueError if it is neither."""
    place = place.rstrip("/")
    if storage.is_local(place):
        place = str(storage.local_path(place).absolute())  # other processes read it too
    if storage.exists(f"{place}/{MANIFEST}"):
        return place
    newest = latest(place)
    if newest is None:
        other = folder_of_runs(place) or "neither a checkpoint nor a run that has a finished one; name one of the two"
        raise ValueError(f"{place} is {other}")
    return newest.url


def folder_of_runs(url: str) -> str:
    """Words for a folder that holds runs where one run is expected, with the first of them; "" for any other place."""
    url = url.rstrip("/")
    runs = [name for name in storage.list_dir(url) if storage.exists(f"{url}/{name}/{layout.EXPERIMENT}")]
    return f"a folder of {len(runs)} runs; name one of them, such as {url}/{runs[0]}" if runs else ""


def latest_for_all_ranks(run_url: str) -> CheckpointRef | None:
    """`latest` as rank 0 sees it, on every rank."""
    return _by_first_rank(lambda: latest(run_url))


def load_into(state: TrainState, url: str, *, networks_only: bool = False) -> None:
    """Restore `state`, on every rank, from the checkpoint at `url`, which rank 0 alone downloads.

    Raises RuntimeError if a file is not what the manifest says, ValueError if it does not fit the experiment; rank 0's
    error is raised by every rank.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / STATE
        _by_first_rank(lambda: _fetch(url, STATE, Path(scratch)))
        _hand_on(path)
        saved = _read(path, url)
    (state.load_networks if networks_only else state.load_state_dict)(saved)


def read_state(url: str) -> dict[str, Any]:
    """The saved state of a checkpoint, on the CPU; RuntimeError if a file is not what the manifest says."""
    with tempfile.TemporaryDirectory() as scratch:
        return _read(_fetch(url, STATE, Path(scratch)), url)


def read_manifest(url: str) -> dict[str, Any]:
    """The manifest of a checkpoint; ValueError if there is none."""
    if not storage.exists(f"{url}/{MANIFEST}"):
        raise ValueError(f"{url} is not a finished checkpoint: it has no {MANIFEST}")
    return storage.read_json(f"{url}/{MANIFEST}")


def read_ticks(url: str) -> list[Tick]:
    """The ticks that a checkpoint's manifest holds: those since the checkpoint before it."""
    return [Tick(**tick) for tick in read_manifest(url).get("ticks", ())]


def read_experiment(url: str) -> Experiment:
    """The experiment as it was when the checkpoint was saved."""
    return experiment_of(read_manifest(url))


def experiment_of(manifest: dict[str, Any]) -> Experiment:
    """The experiment in a manifest."""
    return Experiment.from_json(json.dumps(manifest["experiment"]))


def load_averages(
    url: str, manifest: dict[str, Any] | None = None
) -> tuple[Experiment, Any, dict[str, torch.nn.Module], int]:
    """The experiment, its algorithm, the averaged networks of a checkpoint, and its nimg; `manifest` saves reading it."""
    manifest = manifest or read_manifest(url)
    experiment = experiment_of(manifest)
    algorithm = experiment.algorithm.build()
    with tempfile.TemporaryDirectory() as scratch:
        tensors = safetensors.torch.load_file(_fetch(url, EMA, Path(scratch), manifest))
    networks = {}
    for name in algorithm.averaged:
        own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        networks[name] = algorithm.networks[name].eval().requires_grad_(False)
        networks[name].load_state_dict(own)
        channels_last(networks[name])
    return experiment, algorithm, networks, manifest["nimg"]


def _redacted(tree: Any) -> Any:
    """A JSON tree whose texts hold no credentials."""
    if isinstance(tree, dict):
        return {key: _redacted(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_redacted(value) for value in tree]
    return redact(tree) if isinstance(tree, str) else tree


def _by_first_rank(call: Callable[[], Result]) -> Result:
    """The result of `call` on rank 0, on every rank; every rank raises its error, so that none waits forever."""
    result, error = None, None
    if sync.rank() == 0:
        try:
            result = call()
        except Exception as raised:
            error = raised
    result, sentence = sync.broadcast((result, str(error) if error else None))
    if sentence is not None:
        raise error or RuntimeError(sentence)
    return result


def _hand_on(path: Path) -> None:
    """Give every rank its own copy of rank 0's file, block by block."""
    first = sync.rank() == 0
    if sync.world_size() == 1:
        return
    with path.open("rb" if first else "wb") as file:
        while block := sync.broadcast(file.read(BLOCK_BYTES) if first else None):
            if not first:
                file.write(block)


def _read(path: Path, url: str) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RuntimeError(
            f"{url}/{STATE} holds more than tensors and plain values, so it is not opened: loading it could run "
            "code; use a checkpoint that this program wrote"
        ) from error


def _fetch(url: str, name: str, scratch: Path, manifest: dict[str, Any] | None = None) -> Path:
    """A verified local copy of one file of a checkpoint."""
    expected = (manifest or read_manifest(url))["files"][name]
    path = scratch / name
    storage.download(f"{url}/{name}", path)
    if _fingerprint(path) != expected:
        raise RuntimeError(
            f"{url}/{name} is not the file its manifest describes; delete {url} to resume from the checkpoint before it"
        )
    return path


def _fingerprint(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
