"""Results as a Markdown table."""

from collections.abc import Mapping, Sequence

from benchmarks.step.machine import Machine
from benchmarks.step.timing import Result

COLUMNS = (
    "algorithm",
    "px",
    "batch",
    "blend",
    "mode",
    "s/iteration (min-max)",
    "first s",
    "images/s",
    "x reference",
    "peak GiB",
    "GFLOP needed (run)",
    "GFLOP/s",
    "of peak",
)


def header(machine: Machine) -> str:
    """Description of the machine in one paragraph."""
    tf32 = f", TF32 {machine.tf32_peak / 1e9:,.0f}" if machine.tf32_peak else ""
    used = "; fp32 modes convolve in TF32 and are held against its peak" if machine.fp32_convolutions_in_tf32 else ""
    return (
        f"{machine.name}, {machine.threads} threads, torch {machine.torch_version}. "
        f"Measured matmul peaks in GFLOP/s: fp32 {machine.fp32_peak / 1e9:,.0f}{tf32}, bf16 {machine.bf16_peak / 1e9:,.0f}{used}."
    )


def table(results: Sequence[Result]) -> str:
    """Table with a line per algorithm, level and mode."""
    return _markdown(COLUMNS, [_row(result) for result in results])


def profile_table(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Table of the time shares of operations, with a line per mode and a column per group."""
    groups = list(dict.fromkeys(group for by_group in shares.values() for group in by_group))
    rows = [(name, *(f"{by_group.get(group, 0.0):.1%}" for group in groups)) for name, by_group in shares.items()]
    return _markdown(("mode", *groups), rows)


def _row(result: Result) -> tuple[str, ...]:
    case = result.case
    return (
        case.algorithm,
        f"{case.resolution}",
        f"{case.batch}",
        f"{case.blend:g}",
        result.mode.name,
        f"{result.seconds:.4g} ({result.fastest_s:.4g}-{result.slowest_s:.4g})",
        f"{result.first_s:.3g}",
        f"{result.images_per_s:.3g}",
        "-" if result.speedup is None else f"{result.speedup:.2f}",
        "-" if result.peak_bytes is None else f"{result.peak_bytes / 2**30:.2f}",
        f"{result.model_flops / 1e9:.4g} ({result.own_flops / 1e9:.4g})",
        f"{result.flops_per_s / 1e9:,.4g}",
        f"{result.fraction_of_peak:.1%}",
    )


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
