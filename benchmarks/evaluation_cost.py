"""Cost of evaluating beside the training: images per second of the same run with and without evaluations.

    python -m benchmarks.evaluation_cost PACKED --out FOLDER

PACKED is a packed dataset of colour images of 8 px or more. Runs `alae train` alternately with and without evaluations and
prints a Markdown table. Only ticks of one resolution after the second checkpoint count.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from pipelines.runs.history import read_history
from pipelines.runs.run import Run

PRESET = "cartoon32_style_alae"
SHORT = (
    "algorithm.resolution=8",
    "schedule.resolutions=8",
    "schedule.stable_kimg=24",
    "schedule.fade_kimg=0",
    "training.compile=false",
    "training.checkpoint_ticks=4",
    "evaluation.metrics=fd_pixels5k",
    "tracking.uri=null",
)


def images_per_s(packed: Path, out: Path, name: str, evaluated: bool) -> tuple[float, int]:
    """Images per second over the ticks after the second checkpoint, and the number of evaluations."""
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "train",
        PRESET,
        *SHORT,
        f"name={name}",
        f"data.path={packed}",
    ]
    command += [f"training.storage={out}", f"evaluation.enabled={str(evaluated).lower()}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    run = Run(f"{out.absolute()}/{name}")
    ticks = [tick for tick in read_history(run.history)[0] if tick.nimg > 8_000]
    seconds = sum(float(tick.metrics["time/sec_per_kimg"] or 0) for tick in ticks)
    return 1000 * len(ticks) / seconds, len(list((out / name / "evaluations").glob("*.json")))


def main() -> None:
    """Print the table of `--rounds` pairs of runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print("| round | without, images/s | with | evaluations | with / without |\n| --- | --- | --- | --- | --- |")
    ratios = []
    for number in range(1, options.rounds + 1):
        without, _ = images_per_s(options.packed, options.out, f"without-{number}", False)
        beside, count = images_per_s(options.packed, options.out, f"with-{number}", True)
        ratios.append(beside / without)
        print(f"| {number} | {without:.0f} | {beside:.0f} | {count} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nMedian of the ratios: {statistics.median(ratios):.2f}.")


if __name__ == "__main__":
    main()
