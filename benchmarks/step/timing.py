"""Timing of modes in turns, so that a slowdown of the machine affects all of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.step import flops
from benchmarks.step.cases import Case, Phase, applicable, phases
from benchmarks.step.machine import Machine, now
from benchmarks.step.modes import REFERENCE, Mode

WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class Result:
    """Result of one mode at one level. Times are of an average iteration, in seconds, over the rounds."""

    case: Case
    mode: Mode
    seconds: float
    fastest_s: float
    slowest_s: float
    first_s: float
    """Time of the first iteration, which includes the compilation of kernels that this machine has not cached."""
    images_per_s: float
    speedup: float | None
    """Speed relative to the reference of the same run; None without a reference."""
    model_flops: float
    """FLOPs of convolutions and products in an iteration of our eager form, with the mode's interval of R1."""
    own_flops: float
    """FLOPs that the mode itself executes, which exceed `model_flops` in the reference."""
    flops_per_s: float
    """`model_flops` per second."""
    fraction_of_peak: float
    peak_bytes: int | None = None
    """Peak memory in bytes; None if it was not measured."""


def measure(case: Case, modes: Sequence[Mode], machine: Machine, rounds: int) -> list[Result]:
    """Time those of the modes at one level that its algorithm supports."""
    built = {mode: phases(case, mode) for mode in applicable(case, modes)}
    model = {lazy: flops.count_iteration(phases(case, Mode(lazy_r1=lazy))) for lazy in {mode.lazy_r1 for mode in built}}
    own = flops.count_iteration(built[REFERENCE]) if REFERENCE in built else 0.0
    first = {mode: _warmed_up(parts, case.device) for mode, parts in built.items()}
    times: dict[Mode, list[float]] = {mode: [] for mode in built}
    for _ in range(rounds):
        for mode, parts in built.items():
            times[mode].append(_timed(parts, case.device))
    reference = statistics.median(times[REFERENCE]) if REFERENCE in times else None
    results = []
    for mode, taken in times.items():
        seconds = statistics.median(taken)
        needed = model[mode.lazy_r1]
        results.append(
            Result(
                case=case,
                mode=mode,
                seconds=seconds,
                fastest_s=min(taken),
                slowest_s=max(taken),
                first_s=first[mode],
                images_per_s=case.batch / seconds,
                speedup=reference / seconds if reference is not None else None,
                model_flops=needed,
                own_flops=own if mode == REFERENCE else needed,
                flops_per_s=needed / seconds,
                fraction_of_peak=needed / seconds / machine.peak(mode.precision),
            )
        )
    return results


def _warmed_up(parts: Sequence[Phase], device: str) -> float:
    """Seconds of the first iteration of each kind, summed."""
    start = now(device)
    for phase in parts:
        phase.run()
    seconds = now(device) - start
    for _ in range(WARM_UP - 1):
        _timed(parts, device)
    return seconds


def _timed(parts: Sequence[Phase], device: str) -> float:
    """Seconds of an iteration, averaged over its kinds."""
    seconds = 0.0
    for phase in parts:
        start = now(device)
        phase.run()
        seconds += phase.share * (now(device) - start)
    return seconds
