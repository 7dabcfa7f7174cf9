"""The lines of a long command, each after the time since its start, and a sign of life while nothing else is said."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Self, TextIO

WIDTH = 118
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 60.0
"""Silence before a sign of life: it doubles up to the second where lines stay, as in a log."""
REWRITE_S = 1.0
"""Seconds between two states of the line that a terminal shows instead."""


class Screen:
    """`with Screen() as screen: screen.phase("reading"); screen.line("42")`; any thread may write.

    A terminal shows the wait in one line that is rewritten; elsewhere, such as in a job's log, it takes a line at growing
    intervals.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._began = self._last = time.monotonic()
        self._phase, self._phase_began, self._waiting = "", self._began, _nothing
        self._usual_s = 0.0
        self._signs = 0
        self._rewriting = False
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._live, name="screen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        with self._lock:
            self._clear()

    def phase(self, text: str, waiting: Callable[[], str] | None = None) -> None:
        """Show that a phase begins; `waiting` describes the wait, such as `1 of 2 CPUs free`, while it lasts."""
        self._phase, self._phase_began, self._waiting = text, time.monotonic(), waiting or _nothing
        self._usual_s = 0.0
        self._write(text)

    def line(self, *texts: str) -> None:
        """Show lines that belong to the phase; the next ones are expected about as soon again."""
        self._usual_s = time.monotonic() - self._last
        self._write(*texts)

    def _write(self, *texts: str) -> None:
        with self._lock:
            self._clear()
            for text in texts:
                print(f"{self._elapsed()}  {text}", file=self._out, flush=True)
            self._last, self._signs = time.monotonic(), 0

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:3d}:{seconds:02d}"

    def _clear(self) -> None:
        if self._rewriting:
            print("\r\x1b[K", end="", file=self._out, flush=True)
            self._rewriting = False

    def _live(self) -> None:
        while not self._done.wait(REWRITE_S):
            self._look()

    def _look(self) -> None:
        """Give a sign of life if it is time for one."""
        if self._phase and time.monotonic() - self._last >= self._patience():
            detail = self._detail()
            with self._lock:
                if not self._done.is_set():
                    self._sign(detail)

    def _patience(self) -> float:
        first = max(FIRST_WAIT_S, 3 * self._usual_s)
        if self._terminal:
            return first
        return sum(min(first * 2**sign, max(LONGEST_WAIT_S, first)) for sign in range(self._signs + 1))

    def _detail(self) -> str:
        try:
            found = self._waiting()
        except Exception as error:  # the wait goes on whether it can be described or not
            found = type(error).__name__
        return f": {found}" if found else ""

    def _sign(self, detail: str) -> None:
        text = f"{self._elapsed()}    still {self._phase}"
        end = f"{detail} ({time.monotonic() - self._phase_began:.0f} s)"
        text = f"{text[: WIDTH - len(end)]}{end}"
        if self._terminal:
            print(f"\r{text}\x1b[K", end="", file=self._out, flush=True)
            self._rewriting = True
        else:
            print(text, file=self._out, flush=True)
        self._signs += 1


def _nothing() -> str:
    return ""
