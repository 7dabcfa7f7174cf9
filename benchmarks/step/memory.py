"""Peak memory of an iteration, by the allocator of GPUs; the command measures CPUs, whose peaks belong to processes."""

import torch

from benchmarks.step.cases import Case, phases
from benchmarks.step.modes import Mode

ITERATIONS = 2
"""The first makes the optimizers' state, the second is the usual one."""


def train(case: Case, mode: Mode) -> None:
    """Build the networks and run enough iterations to reach the peak."""
    parts = phases(case, mode)
    for _ in range(ITERATIONS):
        for phase in parts:
            phase.run()


def allocator_peak(case: Case, mode: Mode) -> int:
    """Bytes on the GPU that networks, optimizers and an iteration take at most, beside what is there already."""
    before = torch.cuda.memory_allocated(case.device)
    torch.cuda.reset_peak_memory_stats(case.device)
    train(case, mode)
    return torch.cuda.max_memory_allocated(case.device) - before
