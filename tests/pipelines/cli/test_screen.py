"""The screen of a long command: a time before every line, and a sign of life while nothing else is said."""

import io
from collections.abc import Iterator

import pytest

from pipelines.cli import screen as screen_module
from pipelines.cli.screen import Screen


class Output(io.StringIO):
    """A terminal or a log."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A clock that only the test moves, and a screen's thread that never starts."""
    now = [1000.0]
    monkeypatch.setattr(screen_module.time, "monotonic", lambda: now[0])
    yield now


def seconds_of_signs(screen: Screen, clock: list[float], until: int) -> list[int]:
    """The seconds at which the screen's thread, which looks once a second, gives a sign of life."""
    found, began = [], clock[0]
    for second in range(1, until + 1):
        clock[0] = began + second
        before = screen._out.tell()
        screen._look()
        if screen._out.tell() > before:
            found.append(second)
    return found


def test_every_line_has_the_time_since_the_start(clock: list[float]) -> None:
    output = Output(terminal=False)
    screen = Screen(output)
    screen.phase("checking")
    clock[0] += 65
    screen.line("heading", "row")
    clock[0] += 3600
    screen.phase("ending")
    assert output.getvalue() == "  0:00  checking\n  1:05  heading\n  1:05  row\n1:01:05  ending\n"


def test_a_silent_phase_gives_a_sign_of_life_after_five_seconds_and_at_growing_intervals(clock: list[float]) -> None:
    output = Output(terminal=False)
    screen = Screen(output)
    screen.phase("waiting for 2 workers", lambda: "1.5 of 2 CPUs free")
    assert seconds_of_signs(screen, clock, 200) == [5, 15, 35, 75, 135, 195]
    assert output.getvalue().splitlines()[1] == "  0:05    still waiting for 2 workers: 1.5 of 2 CPUs free (5 s)"
    screen.phase("training")
    assert seconds_of_signs(screen, clock, 5) == [5]


def test_ticks_that_are_far_apart_are_no_silence(clock: list[float]) -> None:
    screen = Screen(Output(terminal=False))
    screen.phase("training")
    for _ in range(2):
        clock[0] += 30
        screen.line("tick")
    assert seconds_of_signs(screen, clock, 95) == [90]


def test_a_terminal_shows_the_wait_in_one_line_that_the_next_line_replaces(clock: list[float]) -> None:
    output = Output(terminal=True)
    screen = Screen(output)
    screen.phase("waiting")
    assert seconds_of_signs(screen, clock, 7) == [5, 6, 7]
    screen.line("tick")
    assert output.getvalue().count("\n") == 2
    assert output.getvalue().endswith("\r  0:07    still waiting (7 s)\x1b[K\r\x1b[K  0:07  tick\n")


def test_a_wait_that_cannot_be_described_is_shown_all_the_same(clock: list[float]) -> None:
    def away() -> str:
        raise ConnectionError("Ray is gone")

    output = Output(terminal=False)
    screen = Screen(output)
    screen.phase("waiting " + 40 * "long ", away)
    assert seconds_of_signs(screen, clock, 5) == [5]
    sign = output.getvalue().splitlines()[-1]
    assert len(sign) == 118 and sign.endswith(": ConnectionError (5 s)")


def test_the_screens_own_thread_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "REWRITE_S", 0.01)
    monkeypatch.setattr(screen_module, "FIRST_WAIT_S", 0.02)
    output = Output(terminal=False)
    with Screen(output) as screen:
        screen.phase("waiting")
        while "still waiting" not in output.getvalue():
            pass
