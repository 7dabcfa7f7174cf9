"""The connection of this process to a Ray cluster."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import ray_log, user_code


def on_cluster() -> bool:
    """Whether this process is connected to a Ray cluster, or RAY_ADDRESS names one."""
    ray = sys.modules.get("ray")  # an import takes a second, and a process that has not imported Ray is not connected
    return bool(os.environ.get("RAY_ADDRESS")) or (ray is not None and ray.is_initialized())


def connect() -> None:
    """Connect to the Ray cluster that RAY_ADDRESS names, or start a local one; a connected process stays connected."""
    import ray

    if ray.is_initialized():
        return
    # A report and the end of a run wait for the controller's next poll of the workers; Ray's default interval is 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    address = os.environ.get("RAY_ADDRESS")
    try:
        with _own_signal_handlers():
            _init(address)
    except (ConnectionError, RuntimeError, TimeoutError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if address:
            raise RuntimeError(
                f"the Ray cluster at RAY_ADDRESS={address} does not answer: {reason}; start it, or unset RAY_ADDRESS to "
                "use this machine alone"
            ) from error
        raise RuntimeError(
            f"Ray did not start on this machine: {reason}; its logs are in {_temporary()}/session_latest/logs"
        ) from error


def _init(address: str | None) -> None:
    import ray

    if address:
        # A client with an explicit address does not turn token authentication on by itself.
        if os.environ.get("RAY_AUTH_TOKEN") or _token_file().exists():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        runtime_env: dict[str, Any] = {"worker_process_setup_hook": ray_log.SETUP_HOOK}
        if variables := user_code.worker_environment():
            runtime_env["env_vars"] = variables
        ray.init(address=address, runtime_env=runtime_env, logging_level=logging.WARNING)
        ray_log.divert()
    else:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put back the handlers that `ray.init` replaces: its own ends the process from C++ with a stack, or says nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _temporary() -> str:
    return os.environ.get("RAY_TMPDIR") or "/tmp/ray"


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
