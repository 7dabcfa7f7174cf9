"""Peak memory of an iteration on GPUs, from the allocator; the command measures CPUs by the peak of a process."""

import torch

from benchmarks.step.cases import Case, phases
from benchmarks.step.modes import Mode

ITERATIONS = 2
"""The first iteration creates the optimizers' state, the second is a usual one."""


def train(case: Case, mode: Mode) -> None:
    """Build the networks and run enough iterations to reach the peak."""
    parts = phases(case, mode)
    for _ in range(ITERATIONS):
        for phase in parts:
            phase.run()


def allocator_peak(case: Case, mode: Mode) -> int:
    """Peak GPU memory of networks, optimizers and an iteration in bytes, without memory that was in use before."""
    before = torch.cuda.memory_allocated(case.device)
    torch.cuda.reset_peak_memory_stats(case.device)
    train(case, mode)
    return torch.cuda.max_memory_allocated(case.device) - before
