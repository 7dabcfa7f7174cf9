"""How long a store that does not answer is waited for: a restart must not end a run, a wrong address must not keep a user."""

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

# Threads and other processes do not inherit it: what runs in them is work, and waits.
_patience_s: ContextVar[float | None] = ContextVar("patience_s", default=None)
_silent_since: dict[str, float] = {}
"""The stores that do not answer, as far as this process knows, so that each outage is told once."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """In the block, or the function it decorates, a silent store is waited for so long; with 0 it is asked once.

    Elsewhere it is waited for PATIENCE_S seconds.
    """
    token = _patience_s.set(seconds)
    try:
        yield
    finally:
        _patience_s.reset(token)


def patience_s() -> float:
    """Seconds for which a silent store is waited for here."""
    chosen = _patience_s.get()
    return PATIENCE_S if chosen is None else chosen


def patiently(ask: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Decorates a function of an address, which may be run again from its beginning.

    What it raises becomes a sentence about the address (`explained`); while the store does not answer it is run
    again, for as long as `patience` says. Missing things and refused credentials are never waited for.
    """

    @functools.wraps(ask)
    def patient(url: str, *arguments: P.args, **options: P.kwargs) -> T:
        limit_s, wait_s, silent_since = patience_s(), FIRST_WAIT_S, None
        while True:
            try:
                # Whatever it asks in turn asks once: the waiting is done here.
                with patience(0), explained(url):
                    answer = ask(url, *arguments, **options)
            except StorageUnreachableError as error:
                if limit_s == 0:
                    raise
                _tell_silence(url, error, limit_s)
                silent_since = silent_since or time.monotonic()
                waited_s = time.monotonic() - silent_since
                if waited_s + wait_s > limit_s:
                    raise StorageUnreachableError(f"{error} (waited {waited_s:.0f} s for it)") from error
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                _tell_answer(url)
                return answer

    return patient


def _tell_silence(url: str, error: StorageUnreachableError, limit_s: float) -> None:
    if _silent_since.setdefault(store_name(url), now := time.monotonic()) == now:
        log.warning("%s; waiting for it for up to %.0f s", error, limit_s)


def _tell_answer(url: str) -> None:
    if _silent_since and (since := _silent_since.pop(store_name(url), None)) is not None:
        log.warning("%s answers again after %.0f s", store_name(url), time.monotonic() - since)
