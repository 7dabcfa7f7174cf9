"""The progress bar of the commands."""

import sys
import time
from typing import Self

LINE_EVERY_S = 60.0


class Bar:
    """A progress bar on stderr: `with Bar("packing") as bar: bar(done, total)`, in images.

    Where stderr is no terminal it is a line a minute instead. Rate and time left count from the first call.
    """

    def __init__(self, what: str, width: int = 30) -> None:
        self._what, self._width = what, width
        self._first: tuple[int, float] | None = None
        self._said = 0.0
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._open:
            print(file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._said = (done, now), now
        if sys.stderr.isatty():
            filled = self._width * done // max(total, 1)
            bar = "#" * filled + "." * (self._width - filled)
            line = f"{self._what} [{bar}] {done:,}/{total:,}  {self._pace(done, total, now)}"
            print(f"\r{line:<100}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif now - self._said >= LINE_EVERY_S:
            print(
                f"{self._what}: {done:,} of {total:,} images, {self._pace(done, total, now)}",
                file=sys.stderr,
                flush=True,
            )
            self._said = now

    def _pace(self, done: int, total: int, now: float) -> str:
        first, began = self._first or (done, now)
        if done <= first or now <= began:
            return ""
        rate = (done - first) / (now - began)
        return f"{rate:,.0f} images/s" + (f", {_duration((total - done) / rate)} left" if done < total else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
