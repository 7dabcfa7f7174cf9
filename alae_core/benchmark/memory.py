"""Peak memory of an iteration: the allocator's on GPUs, the process's resident set on CPUs."""

import resource
from collections.abc import Callable

import torch

from alae_core.benchmark.cases import Case, phases
from alae_core.benchmark.modes import Mode

ITERATIONS = 2
"""The first makes the optimizers' state, the second is the usual one."""


def peak_of(case: Case, mode: Mode) -> int:
    """Bytes that networks, optimizers and an iteration take at most.

    On CPUs: what the peak of the resident set grew by since this call, so call it once, in a process that did nothing else.
    """
    if torch.device(case.device).type == "cuda":
        return _peak_of_allocator(case, mode)
    return growth_of_resident_set(lambda: _train(case, mode))


def _train(case: Case, mode: Mode) -> None:
    parts = phases(case, mode)
    for _ in range(ITERATIONS):
        for phase in parts:
            phase.run()


def _peak_of_allocator(case: Case, mode: Mode) -> int:
    before = torch.cuda.memory_allocated(case.device)
    torch.cuda.reset_peak_memory_stats(case.device)
    _train(case, mode)
    return torch.cuda.max_memory_allocated(case.device) - before


def growth_of_resident_set(run: Callable[[], None]) -> int:
    """Bytes by which a call raised the highest resident set that this process has had."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kib) * 1024
