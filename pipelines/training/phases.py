"""Phases of a run around its ticks: the workers write theirs to Ray's key-value store, and the driver reads them there.

Writing costs one call per phase and none in the loop. A store that does not answer costs only the line on the screen.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ray.experimental import internal_kv

log = logging.getLogger(__name__)

LOST, BUILDING, DATA, TRAINING = range(4)
"""Their order; several ranks write the same ones, so an earlier one that arrives late is left out."""
POLL_S = 0.3
_NAMESPACE = "alae_phases"


class Say(Protocol):
    """Shows a phase to the user: a text, and a function that describes the wait while the phase lasts."""

    def __call__(self, text: str, waiting: Callable[[], str] | None = None) -> None: ...


def silently(text: str, waiting: Callable[[], str] | None = None) -> None:
    """Show nothing."""


def enter(run_url: str, order: int, text: str) -> None:
    """Write that a worker of the run has begun a phase; never raises."""
    try:
        internal_kv._internal_kv_put(run_url, f"{order}|{text}", namespace=_NAMESPACE)
    except Exception as error:
        log.debug("the phase %r is not shown: %r", text, error)


@contextmanager
def followed(run_url: str, say: Say) -> Iterator[None]:
    """Call `say` from a thread of its own with every phase that the run's workers enter inside the block."""
    _forget(run_url)
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(run_url, say, done), name="phases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2.0)  # a Ray that is gone may keep a call waiting
        _forget(run_url)


def _follow(run_url: str, say: Say, done: threading.Event) -> None:
    last = (LOST, "")
    while not done.wait(POLL_S):
        try:
            found = internal_kv._internal_kv_get(run_url, namespace=_NAMESPACE)
        except Exception as error:
            log.debug("phases are not followed: %r", error)
            continue
        if not found:
            continue
        order, _, text = found.decode().partition("|")
        if (int(order) > last[0] or int(order) == LOST) and (int(order), text) != last:
            last = (int(order), text)
            say(text)


def _forget(run_url: str) -> None:
    try:
        internal_kv._internal_kv_del(run_url, namespace=_NAMESPACE)
    except Exception as error:
        log.debug("the last phase is not forgotten: %r", error)
