"""Prints the Markdown tables of runs of benchmarks/intro_vae.py: the last line of each, then each curve.

python benchmarks/intro_vae_table.py OUT1 OUT2 ...
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clocked_run import lines

from pipelines import presets
from pipelines.experiment import Experiment
from pipelines.experiment.override import differences

Line = dict[str, Any]
SCORES = {
    "FD": ("fd2k", ".1f"),
    "MS-SSIM": ("ms_ssim", ".3f"),
    "of real pairs": ("ms_ssim_real", ".3f"),
    "L1": ("reconstruction_l1", ".4f"),
    "PSNR dB": ("reconstruction_psnr", ".2f"),
    "class kept": ("reconstruction_classes_kept", ".3f"),
    "of originals": ("originals_classes_kept", ".3f"),
    "KL real": ("kl_real", ".1f"),
    "KL rec": ("kl_reconstruction", ".1f"),
    "KL sample": ("kl_sample", ".1f"),
    "active units": ("active_units", ".0f"),
}
"""Column -> name of its value in the curve, and number format."""
REFERENCES = ("of real pairs", "of originals")
"""Columns that do not change over a run."""


def summary(outs: Sequence[Path]) -> str:
    """Table with a row for each run: its overrides and the values of its last line."""
    rows = []
    for out in outs:
        experiment = Experiment.from_json((out / "experiment.json").read_text())
        overrides = differences(presets.load(experiment.name), experiment).values()
        rows.append([experiment.name, "; ".join(overrides), *_cells(lines(out)[-1], SCORES)])
    return _markdown(["run", "overrides", "kimg", "CPU min", *SCORES], rows)


def curve(out: Path) -> str:
    """Table with a row for each line of a run's curve."""
    found = lines(out)
    columns = [name for name in SCORES if name not in REFERENCES]
    return _markdown(["kimg", "CPU min", *columns], [_cells(line, columns) for line in found])


def _cells(line: Line, columns: Iterable[str]) -> list[str]:
    scores = [SCORES[name] for name in columns]
    found = [f"{line[name]:{form}}" if name in line else "" for name, form in scores]
    return [f"{line['kimg']:.1f}", f"{line['cpu_s'] / 60:.1f}", *found]


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outs", type=Path, nargs="+", metavar="OUT", help="folder of a run")
    outs = parser.parse_args().outs
    print(summary(outs))
    for out in outs:
        print(f"\n## {out.name}\n\n{curve(out)}")


if __name__ == "__main__":
    main()
