"""Pytest plugin: two processes joined by gloo on loopback, started once and kept for the session."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

LIMIT_S = 60.0


class Pair:
    """Runs a function of a test module on both ranks; arguments and results are plain values or arrays."""

    def __init__(self, processes: list[BaseProcess], pipes: list[Connection]) -> None:
        self._processes = processes
        self._pipes = pipes

    def __call__(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """The result of each rank; raises AssertionError with the traceback if one of them fails."""
        for pipe in self._pipes:
            pipe.send((function, args))
        return [self._answer(rank) for rank in range(2)]

    def _answer(self, rank: int) -> Any:
        assert self._pipes[rank].poll(LIMIT_S), f"rank {rank} gave no answer within {LIMIT_S} s"
        good, answer = self._pipes[rank].recv()
        assert good, f"rank {rank} failed:\n{answer}"
        return answer

    def close(self) -> None:
        """End both processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=10)
            process.kill()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two ranks of one gloo group."""
    store = tmp_path_factory.mktemp("gloo") / "store"
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    for rank in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(rank, store, theirs), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        pipes.append(ours)
    pair = Pair(processes, pipes)
    yield pair
    pair.close()


def _serve(rank: int, store: Path, pipe: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=LIMIT_S / 2),
    )
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            break
        try:
            answer = (True, function(*args))
        except Exception:
            answer = (False, traceback.format_exc())
        pipe.send(answer)
    dist.destroy_process_group()
