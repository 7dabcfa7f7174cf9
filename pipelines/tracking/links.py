"""Addresses of MLflow's pages. Without `workflowType` an experiment opens as an empty GenAI dashboard."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipelines import storage
from pipelines.runs import layout
from pipelines.runs.run import Run
from pipelines.storage.address import redact

WORKFLOW = "workflowType=machine_learning"


def experiment_page(server: str, experiment_id: str) -> str:
    """The table of an experiment's runs on the server at an http address."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{WORKFLOW}"


def run_page(server: str, experiment_id: str, run_id: str) -> str:
    """The page of one run, which begins with its note."""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{WORKFLOW}"


def is_server(uri: str) -> bool:
    """Whether a tracking address has pages of its own: a server, not a database or a folder."""
    return uri.startswith(("http://", "https://"))


def tracked(run: Run) -> dict[str, str]:
    """The `run_id`, `experiment_id`, `experiment` and `uri` that a run was last tracked with; empty if it never was."""
    return read(run.spool / layout.TRACKING)


def read(path: Path) -> dict[str, str]:
    """The record in a `tracking.json`; empty if the file is missing or damaged."""
    try:
        record = json.loads(path.read_text())
        return {str(key): str(value) for key, value in record.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def sentence(run: Run, uri: str) -> str:
    """A line for the terminal: the page of a run on its server, or the command that opens it."""
    record = tracked(run)
    if not is_server(uri):
        return f"review it with: alae review {run.url}"
    if "experiment_id" in record and "run_id" in record:
        return f"review it at: {run_page(redact(uri), record['experiment_id'], record['run_id'])}"
    return f"review it at: {redact(uri)}"


def of_runs(place: str, names: Sequence[str]) -> str:
    """A line for the terminal about the runs of a folder: the page of their experiment, or the command that opens one.

    "" if none of them is tracked.
    """
    records = {name: record for name in names if (record := tracked(Run(storage.join(place, name))))}
    for name, record in records.items():
        if not is_server(record.get("uri", "")):
            return f"review one in MLflow with: alae review {storage.join(place, name)}"
        if "experiment_id" in record:
            return f"review them at: {experiment_page(record['uri'], record['experiment_id'])}"
    return ""
