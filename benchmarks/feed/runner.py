"""Runs the rows of a case in a separate process, and stores its results or the reason of its failure."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import psutil

from benchmarks.feed.cases import Case
from benchmarks.feed.datasets import ROOT
from benchmarks.feed.stores import Store

PACKAGES = {"ours": "benchmarks.feed", "rivals": "benchmarks.feed.rivals"}
TAIL_CHARACTERS = 400

Record = dict[str, Any]


@dataclass(frozen=True)
class Runner:
    """Runner with the `python` of each environment, the file of results, and the time limit of a row in seconds."""

    python: Mapping[str, Path]
    results: Path
    limit_s: float

    def run(self, case: Case, store: Store | None = None, **known: Any) -> None:
        """Write a line for each row: the fields of `known`, its results or `error`, and what `store` sent for the case."""
        before = (store.proxy.bytes_down, store.proxy.requests) if store else (0, 0)
        began = time.monotonic()
        found = list(self._found(case, store.env if store else dict(os.environ)))
        known = known | {"case_s": time.monotonic() - began}
        if store:
            known |= {"bytes_down": store.proxy.bytes_down - before[0], "requests": store.proxy.requests - before[1]}
        for name, values in zip(case.rows, found, strict=True):
            self.keep({"table": case.table, "name": name, **known, **values})

    def keep(self, record: Record) -> None:
        """Append a line to the results and print it."""
        with self.results.open("a") as results:
            results.write(json.dumps(record) + "\n")
        speed = f"{record['images_per_s']:,.0f} images/s" if "images_per_s" in record else "done"
        print(
            f"{record['table']}: {record['name']}: {record.get('error', speed)} ({record.get('case_s', 0):.0f} s)",
            flush=True,
        )

    def _found(self, case: Case, env: dict[str, str]) -> Iterator[Record]:
        command = [str(self.python[case.where]), "-m", f"{PACKAGES[case.where]}.{case.module}"]
        env = env | {"OMP_NUM_THREADS": "1"}
        # Output goes to files, because a process that outlives the case would keep a pipe open.
        with TemporaryFile("w+") as options, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            json.dump(list(case.rows.values()), options)
            options.seek(0)
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=options, stdout=output, stderr=errors, start_new_session=True
            )
            reason = self._waited(process, self.limit_s * len(case.rows))
            output.seek(0)
            errors.seek(0)
            lines = [json.loads(line) for line in output.read().splitlines() if line.startswith("{")]
            said = errors.read()[-TAIL_CHARACTERS:]
        for number in range(len(case.rows)):
            found = lines[number] if number < len(lines) else {"error": reason or "nothing was printed"}
            yield found | {"stderr": said} if "error" in found else found

    def _waited(self, process: subprocess.Popen[bytes], limit_s: float) -> str:
        """Wait for a process for at most `limit_s`, kill it and its descendants, and return how it ended."""
        try:
            return f"ended with {process.wait(limit_s)}"
        except subprocess.TimeoutExpired:
            return f"not done after {limit_s:.0f} s"
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all its descendants."""
    parent = psutil.Process(process.pid)
    for member in (*parent.children(recursive=True), parent):
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
