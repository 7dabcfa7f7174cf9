"""Submission of a training run to a Ray cluster as a job, and its log: `alae submit PRESET a.b=c`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster import secrets as exposed
from cluster import working_dir as folder

if TYPE_CHECKING:  # ray takes a second to import, and `--help` should not
    from ray.job_submission import JobDetails, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
# A tunnel that drops is re-opened within a minute or two; a job runs for days.
_RECONNECTS, _RECONNECT_WAIT_S = 60, 2.0


@dataclass(frozen=True)
class JobResult:
    """State of a job: Ray's status, and the exit code of its driver once it has one."""

    submission_id: str
    status: str
    driver_exit_code: int | None = None
    message: str | None = None

    @property
    def exit_status(self) -> int:
        """0 if the job succeeded or is still under way, the driver's own code if it failed with one, else 1."""
        if self.status in ("SUCCEEDED", "PENDING", "RUNNING"):
            return 0
        code = self.driver_exit_code or 1
        return code if code > 0 else 128 - code  # killed by a signal: what a shell would report


def submit(
    entrypoint: Sequence[str],
    *,
    address: str = DEFAULT_ADDRESS,
    working_dir: str | None = ".",
    excludes: Sequence[str] = folder.DEFAULT_EXCLUDES,
    env_vars: Mapping[str, str] | None = None,
    submission_id: str | None = None,
    follow: Callable[[str], object] | None = None,
) -> JobResult:
    """Run `entrypoint` (a list of arguments) as a job on the cluster whose dashboard is at `address`.

    `follow` receives the job's log piece by piece until the job ends; without it the call returns once
    the job is accepted. `excludes` are patterns as in .gitignore. Raises ValueError, ConnectionError or
    PermissionError with one sentence, RuntimeError if the cluster refuses the job.
    """
    from cluster.client import connect

    exposed.refuse(entrypoint, env_vars or {})
    if working_dir is not None:
        folder.check(working_dir, tuple(excludes))
    client = connect(address)
    job = start(
        client,
        entrypoint,
        working_dir=working_dir,
        excludes=excludes,
        env_vars=env_vars,
        submission_id=submission_id,
    )
    return follow_job(client, job, follow) if follow else JobResult(job, "PENDING")


def start(
    client: JobSubmissionClient,
    entrypoint: Sequence[str],
    *,
    working_dir: str | None,
    excludes: Sequence[str] = folder.DEFAULT_EXCLUDES,
    env_vars: Mapping[str, str] | None = None,
    submission_id: str | None = None,
) -> str:
    """Upload the working directory, start the job, and return its submission id."""
    runtime_env: dict[str, object] = {"env_vars": dict(env_vars or {})}
    if working_dir is not None:
        runtime_env |= {"working_dir": working_dir, "excludes": list(excludes)}
        runtime_env |= _uploaded_packages(client, working_dir)
    # An id of our own: if the reply is lost on the way, the job can still be found.
    job = submission_id or f"alae_{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(3)}"
    try:
        return client.submit_job(entrypoint=shlex.join(entrypoint), submission_id=job, runtime_env=runtime_env)
    except RuntimeError as error:
        if "already exists" in str(error):
            raise ValueError(f"--submission-id={job} was already used on this cluster; choose another") from None
        raise RuntimeError(f"the cluster refused job {job}: {_last_line(str(error))}") from error


def _uploaded_packages(client: JobSubmissionClient, working_dir: str) -> dict[str, object]:
    """This package for a job whose working directory lacks it; uploaded apart, for its excludes are others."""
    folders = folder.packages(working_dir)
    if not folders:
        return {}
    runtime_env = {"py_modules": folders, "excludes": list(folder.PACKAGE_EXCLUDES)}
    client._upload_py_modules_if_needed(runtime_env)  # replaces the folders by addresses in the cluster
    return {"py_modules": runtime_env["py_modules"]}


def follow_job(
    client: JobSubmissionClient,
    submission_id: str,
    write: Callable[[str], object],
    *,
    reconnects: int = _RECONNECTS,
    wait_s: float = _RECONNECT_WAIT_S,
) -> JobResult:
    """Pass a job's log from its beginning to `write` until the job ends, across broken connections.

    Raises ConnectionError after `reconnects` attempts, `wait_s` seconds apart, that brought nothing new.
    """
    log, idle = _Log(write), 0
    while True:
        before, failure = log.written, None
        try:
            info = _follow_once(client, submission_id, log)
            if info.status.is_terminal():
                return JobResult(submission_id, info.status.value, info.driver_exit_code, info.message)
        except Exception as error:  # requests and aiohttp share no base class for a lost connection
            if log.writing:  # whoever reads the log is gone, not the cluster
                raise
            failure = error
        idle = 0 if log.written > before else idle + 1
        if idle > reconnects:
            raise ConnectionError(f"lost the connection to the cluster of job {submission_id}") from failure
        time.sleep(wait_s)


def _follow_once(client: JobSubmissionClient, submission_id: str, log: _Log) -> JobDetails:
    async def tail() -> None:
        async for text in client.tail_job_logs(submission_id):
            log(text)

    log.rewind()
    asyncio.run(tail())
    return client.get_job_info(submission_id)


class _Log:
    """Writes each character once, although every connection replays the log from its start."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.written, self.writing, self._position, self._write = 0, False, 0, write

    def rewind(self) -> None:
        self._position = 0

    def __call__(self, text: str) -> None:
        new = text[max(0, self.written - self._position) :]
        self._position += len(text)
        if new:
            self.writing = True
            self._write(new)
            self.writing = False
            self.written = self._position


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def read_env(pairs: Sequence[str]) -> dict[str, str]:
    """Environment of the job from `KEY=VALUE` or `KEY` (taken from this process's environment).

    Raises ValueError; the message never contains a value.
    """
    variables = {}
    for position, pair in enumerate(pairs, start=1):
        name, given, value = pair.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"--env number {position} does not begin with a variable's name; write KEY=VALUE or KEY")
        if not given and name not in os.environ:
            raise ValueError(f"--env {name}: {name} is not set here; export it or write --env {name}=VALUE")
        variables[name] = value if given else os.environ[name]
    return variables


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `submit` command; its `func` takes the parsed arguments and returns an exit status."""
    parser = subparsers.add_parser(
        "submit",
        help="train an experiment on a Ray cluster, and follow its log",
        description="Upload the working directory to a Ray cluster, train PRESET there as a job, and follow its log. "
        "See docs/cluster.md.",
        epilog="example:\n  alae submit mnist32_style_alae data.path=s3://bucket/mnist32 \\\n"
        "      training.storage=s3://bucket/runs",
    )
    parser.add_argument(
        "preset", metavar="PRESET", help="as for alae train: a preset's name, a .py file, or a .json file or URL"
    )
    parser.add_argument(
        "overrides", metavar="a.b=c", nargs="*", default=[], help="changed settings, such as training.tick_kimg=2"
    )
    parser.add_argument(
        "--address", metavar="URL", default=DEFAULT_ADDRESS, help="the cluster's dashboard; default: %(default)s"
    )
    parser.add_argument(
        "--working-dir",
        metavar="FOLDER",
        default=".",
        help="folder with your code, which is uploaded; default: this one",
    )
    parser.add_argument("--no-wait", action="store_true", help="print the job's id and return; do not follow the log")
    parser.add_argument("--submission-id", metavar="ID", help="id of the job; default: made from the time")
    parser.add_argument(
        "--env",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="an environment variable for the job, KEY alone with its value here; may be repeated",
    )
    parser.set_defaults(func=run, group="Run on a cluster")


def run(arguments: argparse.Namespace) -> int:
    """Carry out `alae submit`: 0 if the job succeeded, its driver's exit code if it failed, 1 or 2 for our errors."""
    try:
        return _run(arguments)
    except ValueError as error:
        print(f"alae submit: {error}", file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(f"alae submit: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    from cluster.client import connect, is_this_machine

    _quieten_ray()
    env_vars = read_env(arguments.env)
    exposed.refuse([arguments.preset, *arguments.overrides], env_vars)
    folder.check(arguments.working_dir, folder.DEFAULT_EXCLUDES)
    preset = folder.preset(arguments.preset, arguments.working_dir, folder.DEFAULT_EXCLUDES)
    client = connect(arguments.address)
    experiment = [preset, *arguments.overrides]
    _check(experiment, arguments.working_dir, env_vars, several=not is_this_machine(client))
    entrypoint = ["python", "-m", "pipelines.cli", "train", *experiment]
    job = start(
        client,
        entrypoint,
        working_dir=arguments.working_dir,
        env_vars=env_vars,
        submission_id=arguments.submission_id,
    )
    if arguments.no_wait:
        print(job)
        return 0
    print(f"job {job} submitted to {arguments.address}; Ctrl-C leaves it running", file=sys.stderr)
    return _follow_from_terminal(client, job, arguments.address)


def _quieten_ray() -> None:
    """Ray reports each file that it leaves out, each upload and each end of the log's connection."""
    for module in ("_private.runtime_env", "dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk"):
        logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)


def _check(experiment: Sequence[str], working_dir: str, env_vars: Mapping[str, str], several: bool) -> None:
    """Check the experiment here, on the code that the job will run, which lies in `working_dir` or is installed.

    A process of its own, because this package imports none of the others. Raises ValueError with what has to be corrected.
    """
    print(f"checking {shlex.join(experiment)}", file=sys.stderr)
    checked = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.check", *(["--several"] if several else []), *experiment],
        cwd=working_dir,
        env={**os.environ, **env_vars},
        capture_output=True,
        text=True,
    )
    said = checked.stderr.strip()
    if checked.returncode == 2:
        raise ValueError(said)
    if checked.returncode != 0:
        raise RuntimeError(f"the experiment cannot be checked with the code of {working_dir}: {_last_line(said)}")
    if said:
        print(said, file=sys.stderr)


def _follow_from_terminal(client: JobSubmissionClient, job: str, address: str) -> int:
    try:
        result = follow_job(client, job, lambda text: print(text, end="", flush=True))
    except (KeyboardInterrupt, ConnectionError) as error:
        why = "detached" if isinstance(error, KeyboardInterrupt) else str(error)
        print(f"\n{why}; job {job} goes on. {_hints(job, address)}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    print(f"job {job}: {result.status}, exit status {result.exit_status}", file=sys.stderr)
    if result.status == "FAILED" and result.driver_exit_code is None and result.message:
        print(_last_line(result.message), file=sys.stderr)  # it never started, so the log says nothing
    return result.exit_status


def _hints(job: str, address: str) -> str:
    base = f"--address {shlex.quote(address)} {shlex.quote(job)}"
    return (
        f"Follow it again: RAY_AUTH_MODE=token ray job logs --follow {base}\n"
        f"Stop it: RAY_AUTH_MODE=token ray job stop {base}"
    )
