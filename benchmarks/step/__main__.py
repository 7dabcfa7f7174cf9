"""The command line of the benchmark: `python -m benchmarks.step --help`. It needs torch and numpy alone."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from alae_core import fused
from benchmarks.step import machine, memory, modes, profile, report, timing
from benchmarks.step.cases import Case, applicable, phases

BATCH_BELOW_64_PX = 32
BATCH_FROM_64_PX = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        chosen, cases = modes.select(options.modes), _cases(options)
    except ValueError as error:
        parser.error(str(error))
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak_bytes_only:
        before = _resident_peak()
        memory.train(cases[0], chosen[0])
        print(_resident_peak() - before)
        return 0
    chosen = _compilable(chosen, options.device)
    where = machine.describe(options.device)
    print(report.header(where), "\n")
    if options.profile:
        _profile(cases, chosen)
        return 0
    results: list[timing.Result] = []
    for case in cases:
        measured = timing.measure(case, chosen, where, options.iterations)
        if options.memory or case.device != "cpu":
            measured = [replace(result, peak_bytes=_peak_bytes(result, options)) for result in measured]
        results += measured
        print(report.table(measured), "\n", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": asdict(where), "results": [asdict(result) for result in results]}, file, indent=1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description="Speed of training iterations.")
    parser.add_argument("--algorithms", type=_words, default=["style_alae"], help="such as style_alae,stylegan")
    parser.add_argument("--resolutions", type=_numbers, default=[32, 64], help="levels to time, in px")
    parser.add_argument("--final-resolution", type=int, help="of the networks; default: that of the level")
    parser.add_argument("--batch", type=_numbers, help="images, one number per resolution")
    parser.add_argument("--fade", action="store_true", help="the level at blend 0.5 instead of 1")
    parser.add_argument("--base-channels", type=int, default=64, help="at the final resolution")
    parser.add_argument("--max-channels", type=int, default=256)
    parser.add_argument("--latent", type=int, default=256)
    parser.add_argument("--modes", type=_words, default=["*"], help="names or patterns such as reference,fp32-eager-*")
    parser.add_argument("--iterations", type=int, default=5, help="rounds; each times every mode once")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, help="of the CPU; default: torch's")
    parser.add_argument(
        "--memory", action="store_true", help="peak memory on CPUs too, each mode in a process of its own"
    )
    parser.add_argument(
        "--profile", action="store_true", help="print where the time of each mode goes, and nothing else"
    )
    parser.add_argument("--json", metavar="FILE", help="write everything there too")
    parser.add_argument("--peak-bytes-only", action="store_true", help=argparse.SUPPRESS)
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _cases(options: argparse.Namespace) -> list[Case]:
    default = [BATCH_BELOW_64_PX if px < 64 else BATCH_FROM_64_PX for px in options.resolutions]
    batches = options.batch or default
    if len(batches) != len(options.resolutions):
        raise ValueError(
            f"--batch has {len(batches)} values for {len(options.resolutions)} --resolutions; give one each"
        )
    return [
        Case(
            algorithm=algorithm,
            resolution=px,
            batch=batch,
            final_resolution=options.final_resolution or px,
            blend=0.5 if options.fade else 1.0,
            base_channels=options.base_channels,
            max_channels=options.max_channels,
            latent=options.latent,
            device=options.device,
        )
        for algorithm in options.algorithms
        for px, batch in zip(options.resolutions, batches, strict=True)
    ]


def _compilable(chosen: tuple[modes.Mode, ...], device: str) -> tuple[modes.Mode, ...]:
    """The modes that this machine can run; says which are left out."""
    if all(mode.form != "compiled" for mode in chosen):
        return chosen
    try:
        fused.require_compiler(torch.device(device))
    except RuntimeError as error:
        print(f"The compiled modes are left out: {error}\n")
        return tuple(mode for mode in chosen if mode.form != "compiled")
    return chosen


def _profile(cases: Sequence[Case], chosen: Sequence[modes.Mode]) -> None:
    for case in cases:
        modes_of_case = applicable(case, chosen)
        shares = {mode.name: profile.shares_by_group(phases(case, mode), case.device) for mode in modes_of_case}
        print(
            f"{case.algorithm}, {case.resolution} px, batch {case.batch}\n\n{report.profile_table(shares)}\n",
            flush=True,
        )


def _peak_bytes(result: timing.Result, options: argparse.Namespace) -> int:
    case = result.case
    if case.device != "cpu":
        return memory.allocator_peak(case, result.mode)
    # The peak of a process never falls: each mode needs a process of its own.
    command = [sys.executable, "-m", "benchmarks.step", "--peak-bytes-only", "--modes", result.mode.name]
    command += ["--algorithms", case.algorithm, "--resolutions", f"{case.resolution}", "--batch", f"{case.batch}"]
    command += ["--final-resolution", f"{case.final_resolution}", "--latent", f"{case.latent}"]
    command += ["--base-channels", f"{case.base_channels}", "--max-channels", f"{case.max_channels}"]
    command += ["--threads", f"{torch.get_num_threads()}", *(["--fade"] if options.fade else [])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _resident_peak() -> int:
    """Bytes of the highest resident set of this process."""
    # Not resource.getrusage: its peak begins at that of the process which started this one.
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024


if __name__ == "__main__":
    sys.exit(main())
