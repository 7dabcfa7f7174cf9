"""Ctrl-C and SIGTERM: the first ends the command with a sentence and its exit status, another one at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []
"""The first signal of the command; Ray's calls raise a KeyboardInterrupt of their own for every signal."""


def status() -> int:
    """The exit status that shells give to the signal that came: 143 for SIGTERM, else 130."""
    return 128 + (_received[0] if _received else signal.SIGINT)


@contextmanager
def handled() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread at the first signal inside the block; leave at the next.

    After the block a signal that came inside it still makes the next one leave at once: exit handlers may take seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    _received.clear()
    for number in before:
        signal.signal(number, _first)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not _again:
            for number, handler in before.items():
                signal.signal(number, handler)


def _first(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _again)
    _received[:] = [number]
    raise KeyboardInterrupt


def _again(number: int, frame: FrameType | None) -> None:
    """Leave without exit handlers; the kernel ends the processes of a local Ray with this one."""
    os.write(2, b"alae: stopped at once\n")
    os._exit(128 + number)
