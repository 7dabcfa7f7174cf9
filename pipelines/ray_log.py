"""The output of a cluster's processes at a driver: our own messages are printed, everything else goes to one file."""

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

OURS = "\x1falae\x1f"
"""Begins each message of our own in a worker's output; no other program writes it."""
PACKAGES = ("pipelines", "tuning", "alae_core")
SETUP_HOOK = f"{__name__}.mark_ours"
"""Dotted name of the function that Ray calls in each worker process at its start."""
_AGAIN_S = 60.0


def mark_ours() -> None:
    """Let the messages of our packages in this process begin with `OURS`."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{OURS}%(message)s"))
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False


def divert() -> None:
    """Write what the workers of this driver print to a file in Ray's log folder, and name it; print our messages."""
    from ray._private import worker
    from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

    node: Any = worker.global_worker.node
    job = worker.global_worker.current_job_id.hex()
    path = Path(node.get_logs_dir_path()) / f"alae_driver_{job}_{os.getpid()}.log"
    dispatcher.remove_handler("ray_print_logs")
    dispatcher.add_handler("alae", Sorter(path, lambda text: print(text, file=sys.stderr, flush=True)))
    log.warning("messages of Ray and its workers: %s on %s", path, node.node_ip_address)


class Sorter:
    """Takes a worker's lines: those of ours are passed on, the others written to a file."""

    def __init__(self, path: Path, show: Callable[[str], object]) -> None:
        self._file = path.open("a", buffering=1)
        self._show = show
        self._shown: dict[str, float] = {}

    def __call__(self, data: dict[str, Any]) -> None:
        who = data.get("actor_name") or data.get("task_name") or "worker"
        for line in data["lines"]:
            if line.startswith(OURS):
                self._show_once(line.removeprefix(OURS))
            elif "__ray_tqdm_magic_token__" not in line:
                self._file.write(f"({who} pid={data.get('pid')} ip={data.get('ip')}) {line}\n")

    def _show_once(self, text: str) -> None:
        """Workers often have the same to report at the same time."""
        now = time.monotonic()
        if now - self._shown.get(text, -_AGAIN_S) >= _AGAIN_S:
            self._shown[text] = now
            self._show(text)
