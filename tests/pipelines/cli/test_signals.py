"""Ctrl-C and SIGTERM end a command with one sentence, the exit status of the signal, and no traceback; a second one at once."""

import signal
import subprocess
import sys

import pytest

WAITING = """
import sys, time
from pipelines.cli import main

def wait():
    {body}

sys.exit(main.reported("alae train", wait))
"""
SLEEP = """print("ready", flush=True); time.sleep(60)"""
STUBBORN = """
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(60)
"""


def signalled(body: str, *sent: tuple[str, signal.Signals]) -> tuple[int, str]:
    """Exit status and stderr of a command that is sent each signal when it has printed the line before it."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line, number in sent:
        assert process.stdout.readline().strip() == line
        process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_sentence_and_its_own_exit_status(number: signal.Signals, status: int) -> None:
    assert signalled(SLEEP, ("ready", number)) == (status, "alae train: stopped\n")


def test_the_status_is_that_of_the_signal_also_where_a_library_raises_its_own_interrupt() -> None:
    replaced = """
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; 3 kimg are safe") from None
"""
    assert signalled(replaced, ("ready", signal.SIGTERM)) == (143, "alae train: stopped; 3 kimg are safe\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_a_command_that_is_still_cleaning_up(number: signal.Signals, status: int) -> None:
    found = signalled(STUBBORN, ("ready", signal.SIGINT), ("cleaning", number))
    assert found == (status, "alae: stopped at once\n")
