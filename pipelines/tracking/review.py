"""`alae review`: MLflow's pages of a run or an experiment, from a server that this command starts and ends."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines import storage
from pipelines.runs import layout
from pipelines.runs.run import Run
from pipelines.storage.address import absolute_uri, redact
from pipelines.tracking import links, mlflow_run

HERE = "mlflow.db"
START_S = 180.0
STOP_S = 10.0
ENDPOINT = "/health"


@dataclass(frozen=True)
class Place:
    """An experiment, or one run of it, in a tracking store."""

    uri: str
    experiment_id: str
    run_id: str | None = None

    def page(self, server: str) -> str:
        """The page of the place on the server at an http address."""
        if self.run_id is None:
            return links.experiment_page(server, self.experiment_id)
        return links.run_page(server, self.experiment_id, self.run_id)


def find(run: str | None, uri: str | None, experiment: str) -> Place:
    """The place of a run, or without one of an experiment by its name, in the store at `uri`.

    Without `uri` the store that the run was tracked in counts, or without a run `mlflow.db` of this folder. Raises ValueError
    with a way out where there is no such run or store.
    """
    folder = Run(run.rstrip("/")) if run else None
    record = links.tracked(folder) if folder else {}
    if folder and not record and not storage.exists(f"{folder.url}/{layout.EXPERIMENT}"):
        raise ValueError(f"{folder.url} is not a run: it has no {layout.EXPERIMENT}; name the folder of a run")
    uri = absolute_uri(uri or _default_uri(folder, record), os.getcwd())
    file = mlflow_run.sqlite_file(uri)
    if file is not None and not file.exists():
        raise ValueError(f"{redact(uri)} does not exist; name the store by --uri, as in tracking.uri")
    return _look_up(uri, folder, record, experiment)


def _default_uri(folder: Run | None, record: dict[str, str]) -> str:
    if folder is None:
        if not Path(HERE).exists():
            raise ValueError(f"there is no {HERE} in this folder; name a run, or a store by --uri")
        return f"sqlite:///{HERE}"
    uri = record.get("uri") or folder.experiment().tracking.uri
    if uri is None:
        raise ValueError(f"{folder.url} was not tracked; send it to MLflow with: alae track {folder.url} --uri URI")
    return uri


def _look_up(uri: str, folder: Run | None, record: dict[str, str], experiment: str) -> Place:
    from mlflow.exceptions import MlflowException

    try:
        client = mlflow_run.connect(uri)
        if folder is not None:
            found = mlflow_run.get_run(client, record.get("run_id"))
            if found is None:
                raise ValueError(f"{folder.url} is not in {redact(uri)}; send it there with: alae track {folder.url}")
            return Place(uri, found.info.experiment_id, found.info.run_id)
        named = client.get_experiment_by_name(experiment)
    except MlflowException as error:
        raise RuntimeError(f"MLflow at {redact(uri)} does not answer: {redact(str(error))}") from error
    if named is None:
        raise ValueError(f"{redact(uri)} has no experiment {experiment!r}; name it by --experiment")
    return Place(uri, named.experiment_id)


@contextmanager
def server(uri: str, port: int | None = None) -> Iterator[str]:
    """The http address of a server of the store at `uri`, on loopback only; all its processes end with the context.

    Raises RuntimeError with the end of the server's log if it does not come up.
    """
    port = _free_port(port or 0)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            _wait(process, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


def _wait(process: "subprocess.Popen[bytes]", address: str, log: object) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(address + ENDPOINT, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    log.seek(0)  # type: ignore[attr-defined]
    lines = log.read().decode(errors="replace").strip().splitlines() or ["no output"]  # type: ignore[attr-defined]
    raise RuntimeError(f"mlflow ui did not come up: {redact(lines[-1])}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server's process group: its workers are processes of their own."""
    for stop in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, stop)
            process.wait(STOP_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


def show(address: str) -> None:
    """Open a page in the browser, where there is a display."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def _free_port(port: int) -> int:
    """The port, or a free one for 0; raises ValueError if it is taken, since another store's pages would be shown."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ValueError(f"--port={port} is taken; leave it out for a free one") from None
        return int(probe.getsockname()[1])
