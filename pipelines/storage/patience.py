"""Retries while a store does not answer, for a limited time.

A restart of the store must not end a run, and a wrong address must not keep a user waiting.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, TypeVar

from pipelines.storage.address import store_name
from pipelines.storage.errors import StorageUnreachableError, explained

PATIENCE_S = 120.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Threads and other processes do not inherit this: they do a run's work and wait for PATIENCE_S.
_patience_s: ContextVar[float | None] = ContextVar("patience_s", default=None)
_silent_since: dict[str, float] = {}
"""Time since when each store has not answered this process, so that each outage is logged once."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Limit the wait for a store that does not answer to `seconds`, in a block or a decorated function.

    With 0 the store is asked once. Elsewhere the limit is PATIENCE_S seconds.
    """
    token = _patience_s.set(seconds)
    try:
        yield
    finally:
        _patience_s.reset(token)


def patience_s() -> float:
    """The limit in seconds of the wait for a store that does not answer, in the current context."""
    chosen = _patience_s.get()
    return PATIENCE_S if chosen is None else chosen


def patiently(ask: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Decorate a function whose first argument is an address and which may be run again from its beginning.

    Its exceptions become sentences about the address (`explained`). While the store does not answer, the function is
    run again until the limit of `patience`, then StorageUnreachableError is raised. A missing file or refused
    credentials are raised at once.
    """

    @functools.wraps(ask)
    def patient(url: str, *arguments: P.args, **options: P.kwargs) -> T:
        limit_s, wait_s, silent_since = patience_s(), FIRST_WAIT_S, None
        while True:
            try:
                # Nested patient functions ask once, because the waiting is done here.
                with patience(0), explained(url):
                    answer = ask(url, *arguments, **options)
            except StorageUnreachableError as error:
                if limit_s == 0:
                    raise
                _log_silence(url, error, limit_s)
                silent_since = silent_since or time.monotonic()
                waited_s = time.monotonic() - silent_since
                if waited_s + wait_s > limit_s:
                    raise StorageUnreachableError(f"{error} (waited {waited_s:.0f} s for it)") from error
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                _log_answer(url)
                return answer

    return patient


def _log_silence(url: str, error: StorageUnreachableError, limit_s: float) -> None:
    if _silent_since.setdefault(store_name(url), now := time.monotonic()) == now:
        log.warning("%s; waiting for it for up to %.0f s", error, limit_s)


def _log_answer(url: str) -> None:
    if _silent_since and (since := _silent_since.pop(store_name(url), None)) is not None:
        log.warning("%s answers again after %.0f s", store_name(url), time.monotonic() - since)
